#include "trireme/parallel/data_parallel.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "trireme/base/error.h"
#include "trireme/base/list_text.h"
#include "trireme/nn/tape.h"
#include "trireme/optim/grad_norm.h"
#include "trireme/parallel/global_norm.h"

namespace trireme::parallel {
namespace {

// The module's parameters, all in units where the stage asks for it.
std::unique_ptr<ModuleParams> params_of(torch::nn::Module& module,
                                        const DataParallelOptions& options) {
  auto params = std::make_unique<ModuleParams>(module, options.module);
  for (const nn::UnitParams& unit : params->units()) {
    if (options.zero_stage < 3 || unit.called_as_unit) continue;
    const std::string& name = unit.params.front()->spec.name;
    const std::string owner = name.substr(0, std::max<size_t>(name.rfind('.'), 1));
    throw input_error("ZeRO stage 3 must see when parameter ", name,
                      " is used: name its module in options.module.units and call it so, "
                      "`x = dp.run_unit(\"",
                      owner,
                      "\", x, [&](const at::Tensor& x) { return block->forward(x); });`, or take "
                      "stage 2");
  }
  if (!options.recompute) return params;
  // A tied tensor's gradient comes once a unit then: each has a backward of its own.
  std::map<nn::Param*, int> uses;
  for (const nn::UnitParams& unit : params->units()) {
    for (nn::Param* param : unit.params) param->uses = ++uses[param];
  }
  return params;
}

}  // namespace

DataParallel::DataParallel(std::unique_ptr<ModuleParams> module,
                           const std::vector<nn::UnitParams>& units, comm::Group& group,
                           const DataParallelOptions& options)
    : group_(group),
      clip_norm_(options.clip_norm),
      recompute_(options.recompute),
      module_(std::move(module)),
      engine_(module_ != nullptr ? module_->units() : units, group,
              {.compute_dtype = options.dtype,
               .zero_stage = options.zero_stage,
               .unused = options.unused}),
      adamw_(engine_.flat_buffers(), options.adamw) {
  for (const std::string& name : options.module.units) {
    units_.emplace(name, nn::UnitId{static_cast<int>(units_.size()), name});
  }
}

DataParallel::DataParallel(torch::nn::Module& module, comm::Group& group,
                           const DataParallelOptions& options)
    : DataParallel(params_of(module, options), {}, group, options) {
  module_->bind(engine_, options.dtype);
}

DataParallel::DataParallel(const std::vector<nn::UnitParams>& units, uint64_t seed,
                           comm::Group& group, const DataParallelOptions& options)
    : DataParallel(nullptr, units, group, options) {
  engine_.init(seed);
}

at::Tensor DataParallel::run_unit(const std::string& name, const at::Tensor& x,
                                  const std::function<at::Tensor(const at::Tensor&)>& forward) {
  const auto unit = units_.find(name);
  if (unit == units_.end()) {
    throw input_error("run_unit: '", name, "' is not among options.module.units");
  }
  const auto call = recompute_ ? nn::internal::call_unit_recomputing : nn::internal::call_unit;
  nn::Context context;
  context.hooks = &engine_;
  if (x.requires_grad() || !at::GradMode::is_enabled()) {
    return call(unit->second, x, context,
                [forward](const at::Tensor& in, nn::Context&) -> nn::internal::Tensors {
                  return {forward(in)};
                })[0];
  }
  // An input without gradient (data) does not lead backward to the unit's beginning: a zero does.
  return call(unit->second, nn::graph_root(), context,
              [forward, x](const at::Tensor& root, nn::Context&) -> nn::internal::Tensors {
                const at::Tensor y = forward(x);
                return {y + root.to(y.scalar_type())};
              })[0];
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
  if (!in_step_) throw run_error("step() without a backward() before it");
  in_step_ = false;
  try {
    engine_.finish_step();
  } catch (...) {
    engine_.abandon_step();
    throw;
  }
  const StepResult result{grad_norm({&engine_})};
  if (!std::isfinite(result.grad_norm)) {
    constexpr size_t kShown = 8;
    const std::vector<std::string> names = non_finite_gradients({&engine_}, kShown);
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
