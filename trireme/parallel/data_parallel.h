// Data parallelism for a model of your own, in five lines of your loop:
//
//   auto world = comm::World::from_env();
//   parallel::DataParallel dp(*model, world->world_group(), {.clip_norm = 1.0});
//   for (...) {
//     dp.backward(loss_sum / count);   // count: samples of all ranks' batches together
//     dp.step(lr);
//   }
//
// It owns the engine (gradients summed behind backward), AdamW over flat buffers, and clipping by
// the global norm.
//
// - Losses are shares: each rank's, divided by the count of the whole global batch, so that
//   gradients simply add up. Nothing divides by the number of ranks; ranks may have batches of
//   unequal size.
// - Accumulation: begin_step(n), n times backward(), step(). Only the last backward communicates;
//   from ZeRO stage 2 on each does.
// - Every rank calls the same methods in the same order, with the same number of micro-batches.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "trireme/comm/group.h"
#include "trireme/nn/param.h"
#include "trireme/nn/unit.h"
#include "trireme/optim/adamw.h"
#include "trireme/parallel/engine.h"
#include "trireme/parallel/module_params.h"

namespace trireme::parallel {

struct DataParallelOptions {
  // ZeRO (Rajbhandari et al., 2020): what ranks share instead of copying. 1: masters and moments;
  // 2: gradients too; 3: values too, gathered while a unit runs (run_unit).
  int zero_stage = 0;
  // Units (run_unit) keep their input alone and run again in backward.
  bool recompute = false;
  // bfloat16: the model computes in bf16, fp32 masters are updated.
  at::ScalarType dtype = at::kFloat;
  double clip_norm = 0;  // 0: gradients are not clipped
  optim::AdamWOptions adamw = {};
  Unused unused = Unused::kError;  // what parameters are that the loss does not depend on
  ModuleParamsOptions module = {};
};

struct StepResult {
  double grad_norm = 0;  // over all ranks' gradients summed, before clipping
};

class DataParallel {
 public:
  // Any torch::nn::Module; pass *model of a holder or a shared_ptr. Rank 0's parameters and buffers
  // become everyone's. `group` outlives it; the module may outlive it and keeps its values. Throws
  // what ModuleParams throws.
  DataParallel(torch::nn::Module& module, comm::Group& group,
               const DataParallelOptions& options = {});
  // A model of nn::Params, called through nn::Unit (context.hooks = &dp.engine()). Their initial
  // values are drawn from `seed`, the same for every number of ranks.
  DataParallel(const std::vector<nn::UnitParams>& units, uint64_t seed, comm::Group& group,
               const DataParallelOptions& options = {});

  // y = forward(x), of the module of that name in options.module.units: at stage 3 its parameters
  // are there meanwhile, and again in its backward. The one line that stage 3 and recompute want
  // changed:
  //   x = block->forward(x);
  //   x = dp.run_unit("encoder.0", x, [&](const at::Tensor& x) { return block->forward(x); });
  // What `forward` captures must live until backward has run.
  at::Tensor run_unit(const std::string& name, const at::Tensor& x,
                      const std::function<at::Tensor(const at::Tensor&)>& forward);

  // Announces the number of backward() calls of the next step. Left out: one.
  void begin_step(int micro_batches);
  // The backward of one micro-batch.
  void backward(const at::Tensor& loss);
  // Waits for the gradients' sums, clips, updates. Throws run_error, the same on every rank and
  // with nothing updated, when a gradient is not finite (the tensors are named); or for parameters
  // that no micro-batch of the step used on this rank (named too).
  StepResult step(double lr);

  // The sum over the ranks of a number: a loss to print, samples to count.
  double sum(double mine);
  // Holds all parameters whole (at stage 3; below they are anyway): to save them, or to run the
  // module otherwise than by units. Every rank makes one.
  WholeValues whole_values() { return WholeValues(engine_); }
  // Rank `root`'s buffers (a batch norm's statistics) to everyone; nothing for a model of Params.
  void broadcast_buffers(int root = 0);

  // What a checkpoint holds: checkpoint::save(dir, run, {dp.engine(), dp.adamw()}, ...).
  Engine& engine() { return engine_; }
  optim::AdamW& adamw() { return adamw_; }

 private:
  DataParallel(std::unique_ptr<ModuleParams> module, const std::vector<nn::UnitParams>& units,
               comm::Group& group, const DataParallelOptions& options);

  comm::Group& group_;
  double clip_norm_;
  bool recompute_;
  std::map<std::string, nn::UnitId> units_;  // of a module, by name
  std::unique_ptr<ModuleParams> module_;     // null: a model of Params
  Engine engine_;
  optim::AdamW adamw_;
  bool in_step_ = false;
};

}  // namespace trireme::parallel
