#include "trireme/parallel/data_parallel.h"

#include <ATen/ATen.h>

#include <cmath>

#include "trireme/base/error.h"
#include "trireme/base/list_text.h"
#include "trireme/optim/grad_norm.h"

namespace trireme::parallel {

DataParallel::DataParallel(std::unique_ptr<ModuleParams> module,
                           const std::vector<nn::UnitParams>& units, comm::Group& group,
                           const DataParallelOptions& options)
    : group_(group),
      clip_norm_(options.clip_norm),
      module_(std::move(module)),
      engine_(module_ != nullptr ? module_->units() : units, group,
              {.compute_dtype = options.dtype, .unused = options.unused}),
      adamw_(engine_.flat_buffers(), options.adamw) {}

DataParallel::DataParallel(torch::nn::Module& module, comm::Group& group,
                           const DataParallelOptions& options)
    : DataParallel(std::make_unique<ModuleParams>(module, options.module), {}, group, options) {
  module_->bind(engine_, group, options.dtype);
}

DataParallel::DataParallel(const std::vector<nn::UnitParams>& units, uint64_t seed,
                           comm::Group& group, const DataParallelOptions& options)
    : DataParallel(nullptr, units, group, options) {
  engine_.init(seed);
}

void DataParallel::begin_step(int micro_batches) {
  engine_.begin_step(micro_batches);
  in_step_ = true;
}

void DataParallel::backward(const at::Tensor& loss) {
  if (!in_step_) begin_step(1);
  try {
    loss.backward();
    engine_.end_micro_batch();
  } catch (...) {
    engine_.abandon_step();
    in_step_ = false;
    throw;
  }
}

StepResult DataParallel::step(double lr) {
  engine_.finish_step();
  in_step_ = false;
  const StepResult result{engine_.grad_norm()};
  if (!std::isfinite(result.grad_norm)) {
    constexpr size_t kShown = 8;
    const std::vector<std::string> names = engine_.non_finite_gradients(kShown);
    engine_.abandon_step();
    throw run_error("step ", adamw_.steps() + 1, ": the gradient norm is ", result.grad_norm, " (",
                    names.empty() ? "every gradient is finite, but they are too large to square"
                                  : "not finite in the gradient of " + list_text(names, kShown),
                    "); nothing was updated. Lower the learning rate, or look at the data");
  }
  adamw_.step({.lr = lr, .grad_factor = optim::clip_factor(result.grad_norm, clip_norm_)});
  engine_.gather_updates();
  return result;
}

double DataParallel::sum(double mine) {
  const at::Tensor total = at::full({1}, mine, at::kDouble);
  group_.all_reduce(total, comm::ReduceOp::kSum, "sum")->wait();
  return total.item<double>();
}

void DataParallel::broadcast_buffers(int root) {
  if (module_ != nullptr) module_->broadcast_buffers(group_, root);
}

}  // namespace trireme::parallel
