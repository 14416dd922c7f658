#include "trireme/train/step_runner.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "trireme/base/error.h"
#include "trireme/base/list_text.h"
#include "trireme/nn/context_parallel.h"
#include "trireme/optim/grad_norm.h"
#include "trireme/parallel/global_norm.h"

namespace trireme::train {
namespace {

optim::Schedule make_schedule(const OptimConfig& config, int64_t total_steps) {
  return {.kind = config.schedule,
          .total_steps = total_steps,
          .warmup_steps = config.warmup_steps > 0
                              ? config.warmup_steps
                              : optim::ratio_to_steps(config.warmup_ratio, total_steps),
          .decay_steps = optim::ratio_to_steps(config.decay_ratio, total_steps)};
}

}  // namespace

StepRunner::StepRunner(const OptimConfig& config, int64_t total_steps, const StepParts& parts)
    : config_(config), schedule_(make_schedule(config, total_steps)), parts_(parts) {}

StepOutcome StepRunner::run(const StepWork& work, bool stop, const RankTime& step_before) {
  const double my_loss = accumulate(work);
  // The loss, wishes to stop, and two numbers of each rank.
  const auto me = 2 + 2 * static_cast<size_t>(parts_.world.rank());
  std::vector<double> numbers(2 + 2 * static_cast<size_t>(parts_.world.size()));
  numbers[0] = my_loss;
  numbers[1] = stop ? 1 : 0;
  numbers[me] = step_before.compute_s;
  numbers[me + 1] = step_before.wait_s;
  const at::Tensor status = at::tensor(numbers, at::kDouble);
  const comm::WorkPtr sum = parts_.world.all_reduce(status, comm::ReduceOp::kSum, "loss");

  parts_.phases.enter(Phase::kOptimizer);
  StepOutcome outcome;
  outcome.grad_norm = parts_.model.grad_norm();
  outcome.lr = config_.lr * schedule_.factor(work.step);

  parts_.phases.enter(Phase::kCommWait);
  sum->wait();
  outcome.loss = status[0].item<double>();
  outcome.stop = status[1].item<double>() > 0;
  const double* times = status.const_data_ptr<double>() + 2;
  for (int rank = 0; rank < parts_.world.size(); ++rank, times += 2) {
    outcome.step_before.push_back({times[0], times[1]});
  }
  if (!std::isfinite(outcome.loss) || !std::isfinite(outcome.grad_norm)) fail(work, outcome);

  parts_.phases.enter(Phase::kOptimizer);
  parts_.model.update(
      {.lr = outcome.lr, .grad_factor = optim::clip_factor(outcome.grad_norm, config_.clip_norm)});
  parts_.phases.enter(Phase::kOther);
  return outcome;
}

double StepRunner::accumulate(const StepWork& work) {
  std::vector<parallel::Hybrid::MicroBatch> micro_batches;
  for (size_t m = 0; m < work.micro_batches.size(); ++m) {
    const data::PackedBatch& batch = work.micro_batches[m];
    parallel::Hybrid::MicroBatch& micro_batch = micro_batches.emplace_back();
    micro_batch.context = context_of(work, m);
    micro_batch.loss = [this, &work, &batch](const at::Tensor& output, const nn::Context& context) {
      if (const tasks::ChainTask* chain = parts_.task.as_chain()) {
        return chain->loss_of(output, batch, context, work.counts);
      }
      nn::Context own = context;
      return parts_.task.loss(batch, own, work.counts);
    };
  }
  std::vector<double> losses;
  const double sum = parts_.model.run(micro_batches, &losses);
  suspects_.clear();
  for (size_t m = 0; m < losses.size(); ++m) {
    if (std::isfinite(losses[m])) continue;
    for (const int32_t ordinal : work.micro_batches[m].sample) {
      suspects_.push_back(work.samples[static_cast<size_t>(ordinal)]);
    }
  }
  return sum;
}

nn::Context StepRunner::context_of(const StepWork& work, size_t micro_batch) {
  const data::PackedBatch& batch = work.micro_batches[micro_batch];
  const parallel::Layout& layout = parts_.model.layout();
  nn::Context context;
  context.tokens = batch.tokens;
  context.positions = batch.positions;
  context.token_types = batch.token_types;
  if (const tasks::ChainTask* chain = parts_.task.as_chain()) {
    chain->set_inputs(batch, context, work.counts);
  }
  context.seq = &batch.seq;
  context.dropout = batch.dropout_key(parts_.seed, static_cast<uint64_t>(work.step));
  context.training = true;
  context.recompute = layout.recompute;
  if (layout.cp > 1) {
    context.cp = std::make_shared<const nn::ContextParallel>(
        parts_.model.groups().along({comm::Axis::kCp}),
        layout.cp_method == "ulysses" ? nn::CpMethod::kUlysses : nn::CpMethod::kRing,
        work.shards.at(micro_batch));
  }
  return context;
}

void StepRunner::fail(const StepWork& work, const StepOutcome& outcome) {
  constexpr size_t kShown = 8;
  const std::string what = std::isfinite(outcome.loss)
                               ? cat("the gradient norm is ", outcome.grad_norm)
                               : cat("the loss is ", outcome.loss);
  std::string cause;
  if (const auto weights = parallel::non_finite_masters(parts_.model.engines(), 1);
      !weights.empty()) {
    cause = cat("parameter ", weights[0],
                " was not finite before the step: look at the weights it "
                "started from");
  } else if (!std::isfinite(outcome.loss)) {
    // Every rank sees this loss, so all take part.
    const std::vector<std::string> suspects =
        parts_.world.all_gather_bytes(list_text(suspects_, kShown), "samples of a loss not finite");
    for (size_t rank = 0; rank < suspects.size(); ++rank) {
      if (suspects[rank].empty()) continue;
      cause +=
          cat(cause.empty() ? "" : "; ", "rank ", rank, " had training samples ", suspects[rank]);
    }
  } else if (const auto names = parallel::non_finite_gradients(parts_.model.engines(), kShown);
             !names.empty()) {
    cause = "not finite in the gradient of " + list_text(names, kShown);
  } else {
    cause = "every gradient is finite, but they are too large to square";
  }
  throw run_error("step ", work.step + 1, ": ", what, " (", cause, "); the learning rate was ",
                  outcome.lr,
                  "; nothing was updated. Lower optim.lr or lengthen the warm-up, or "
                  "look at the data, and go on from the last checkpoint");
}

}  // namespace trireme::train
