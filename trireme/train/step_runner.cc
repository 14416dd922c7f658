#include "trireme/train/step_runner.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "trireme/base/error.h"
#include "trireme/base/list_text.h"
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

StepRunner::StepRunner(const OptimConfig& config, int64_t total_steps, uint64_t seed,
                       const StepParts& parts)
    : config_(config), schedule_(make_schedule(config, total_steps)), seed_(seed), parts_(parts) {}

StepOutcome StepRunner::run(const StepWork& work, bool stop, const RankTime& step_before) {
  const double my_loss = accumulate(work);
  // The loss, wishes to stop, and two numbers of each rank.
  const auto me = 2 + 2 * static_cast<size_t>(parts_.group.rank());
  std::vector<double> numbers(2 + 2 * static_cast<size_t>(parts_.group.size()));
  numbers[0] = my_loss;
  numbers[1] = stop ? 1 : 0;
  numbers[me] = step_before.compute_s;
  numbers[me + 1] = step_before.wait_s;
  const at::Tensor status = at::tensor(numbers, at::kDouble);
  const comm::WorkPtr sum = parts_.group.all_reduce(status, comm::ReduceOp::kSum, "loss");

  // Meanwhile, of gradients that are the same everywhere.
  parts_.phases.enter(Phase::kOptimizer);
  StepOutcome outcome;
  outcome.grad_norm = parallel::grad_norm({&parts_.engine});
  outcome.lr = config_.lr * schedule_.factor(work.step);

  parts_.phases.enter(Phase::kCommWait);
  sum->wait();
  outcome.loss = status[0].item<double>();
  outcome.stop = status[1].item<double>() > 0;
  const double* times = status.const_data_ptr<double>() + 2;
  for (int rank = 0; rank < parts_.group.size(); ++rank, times += 2) {
    outcome.step_before.push_back({times[0], times[1]});
  }
  if (!std::isfinite(outcome.loss) || !std::isfinite(outcome.grad_norm)) fail(work, outcome);

  parts_.phases.enter(Phase::kOptimizer);
  parts_.adamw.step(
      {.lr = outcome.lr, .grad_factor = optim::clip_factor(outcome.grad_norm, config_.clip_norm)});
  parts_.phases.enter(Phase::kCommWait);
  parts_.engine.gather_updates();
  parts_.phases.enter(Phase::kOther);
  return outcome;
}

double StepRunner::accumulate(const StepWork& work) {
  double total = 0;
  suspects_.clear();
  parts_.engine.begin_step(static_cast<int>(work.micro_batches.size()));
  for (const data::PackedBatch& batch : work.micro_batches) {
    parts_.phases.enter(Phase::kForward);
    nn::Context context;
    context.tokens = batch.tokens;
    context.positions = batch.positions;
    context.token_types = batch.token_types;
    context.seq = &batch.seq;
    context.dropout = batch.dropout_key(seed_, static_cast<uint64_t>(work.step));
    context.training = true;
    context.hooks = &parts_.engine;
    context.recompute = parts_.recompute;
    const at::Tensor loss = parts_.task.loss(batch, context, work.counts);
    const auto value = loss.item<double>();
    total += value;
    if (!std::isfinite(value)) {
      for (const int32_t ordinal : batch.sample) {
        suspects_.push_back(work.samples[static_cast<size_t>(ordinal)]);
      }
    }
    parts_.phases.enter(Phase::kBackward);
    loss.backward();
    parts_.engine.end_micro_batch();
  }
  parts_.phases.enter(Phase::kCommWait);
  parts_.engine.finish_step();
  return total;
}

void StepRunner::fail(const StepWork& work, const StepOutcome& outcome) {
  constexpr size_t kShown = 8;
  const std::string what = std::isfinite(outcome.loss)
                               ? cat("the gradient norm is ", outcome.grad_norm)
                               : cat("the loss is ", outcome.loss);
  std::string cause;
  if (const auto weights = parallel::non_finite_masters({&parts_.engine}, 1); !weights.empty()) {
    cause = cat("parameter ", weights[0],
                " was not finite before the step: look at the weights it "
                "started from");
  } else if (!std::isfinite(outcome.loss)) {
    // Every rank sees this loss, so all take part.
    const std::vector<std::string> suspects =
        parts_.group.all_gather_bytes(list_text(suspects_, kShown), "samples of a loss not finite");
    for (size_t rank = 0; rank < suspects.size(); ++rank) {
      if (suspects[rank].empty()) continue;
      cause +=
          cat(cause.empty() ? "" : "; ", "rank ", rank, " had training samples ", suspects[rank]);
    }
  } else if (const auto names = parallel::non_finite_gradients({&parts_.engine}, kShown);
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
