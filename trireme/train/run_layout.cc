#include "trireme/train/run_layout.h"

#include <algorithm>

#include "trireme/base/error.h"
#include "trireme/comm/mesh.h"

namespace trireme::train {

parallel::Layout run_layout(const RunConfig& config, int ranks, tasks::Task& task,
                            const parallel::Where& where) {
  parallel::Layout layout = parallel::fitted(config.parallel, ranks, where);
  try {
    comm::parse_axis_order(layout.order);
  } catch (const Error& e) {
    throw input_error(where("parallel.order"), ": ", e.what());
  }
  const tasks::ChainTask* chain = task.as_chain();
  parallel::LayoutLimits limits;
  if (chain != nullptr) {
    limits.layers = chain->layers();
    limits.heads = chain->heads();
  } else if (layout.pp > 1 || layout.cp > 1 || layout.tp > 1) {
    throw input_error(where(layout.pp > 1   ? "parallel.pp"
                            : layout.cp > 1 ? "parallel.cp"
                                            : "parallel.tp"),
                      ": the task's model is no chain of units (tasks::ChainTask), so that only "
                      "data parallelism and ZeRO can share it out; use 1");
  }
  for (int64_t i = 0; i < task.train_size(); ++i) {
    limits.longest_sequence = std::max(limits.longest_sequence, task.train_length(i));
  }
  parallel::check_layout(layout, limits, where);
  return layout;
}

}  // namespace trireme::train
