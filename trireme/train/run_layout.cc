#include "trireme/train/run_layout.h"

#include <algorithm>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/log.h"
#include "trireme/comm/mesh.h"
#include "trireme/parallel/pipeline/csv.h"
#include "trireme/parallel/pipeline/print.h"
#include "trireme/parallel/pipeline/validate.h"

namespace trireme::train {

namespace {

// Chunks of a rank that has most. An invalid schedule is shown with the cell that is wrong.
int64_t chunks_of_file(const parallel::Layout& layout, int rank, const parallel::Where& where) {
  namespace pipeline = parallel::pipeline;
  const auto fail = [&](const std::string& message) {
    return input_error(where("parallel.schedule"), ": ", message);
  };
  pipeline::Schedule schedule;
  try {
    schedule = pipeline::schedule_from_csv(read_file(layout.schedule), layout.schedule);
  } catch (const Error& e) {
    throw fail(e.what());
  }
  if (schedule.stages() != layout.pp) {
    throw fail(cat(layout.schedule, " is for ", schedule.stages(), " ranks, and parallel.pp is ",
                   layout.pp));
  }
  if (const auto fault = pipeline::find_fault(schedule)) {
    if (rank == 0) log_error("no valid schedule:\n" + pipeline::order_grid(schedule, &*fault));
    throw fail(cat(layout.schedule, ", rank ", fault->rank, ": ", fault->message));
  }
  size_t most = 0;
  for (int stage = 0; stage < schedule.stages(); ++stage)
    most = std::max(most, schedule.chunks_of(stage).size());
  return static_cast<int64_t>(most);
}

}  // namespace

parallel::Layout run_layout(const RunConfig& config, const Ranks& ranks, tasks::Task& task,
                            const parallel::Where& where) {
  parallel::Layout layout = parallel::fitted(config.parallel, ranks.size, where);
  try {
    comm::parse_axis_order(layout.order);
  } catch (const Error& e) {
    throw input_error(where("parallel.order"), ": ", e.what());
  }
  if (layout.pp > 1 && parallel::is_schedule_file(layout.schedule)) {
    layout.chunks = chunks_of_file(layout, ranks.rank, where);
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
