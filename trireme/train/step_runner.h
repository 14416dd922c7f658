// One optimiser step: forward and backward of this rank's micro-batches, gradients summed over the
// ranks behind backward, clipping by the global norm, update.
//
//   StepRunner runner(config.optim, total_steps, {task, model, world.world_group(), phases});
//   const StepOutcome outcome = runner.run(work, stop_requested);
#pragma once

#include <cstdint>
#include <vector>

#include "trireme/comm/group.h"
#include "trireme/optim/schedule.h"
#include "trireme/parallel/hybrid.h"
#include "trireme/tasks/task.h"
#include "trireme/train/config.h"
#include "trireme/train/meters.h"
#include "trireme/train/rank_times.h"
#include "trireme/train/step_source.h"

namespace trireme::train {

struct StepOutcome {
  double loss = 0;       // mean over the global batch
  double grad_norm = 0;  // before clipping
  double lr = 0;
  bool stop = false;                  // a rank wishes to stop: the same answer on every rank
  std::vector<RankTime> step_before;  // the times that ranks gave, by rank
};

// What a step works on; outlives the runner.
struct StepParts {
  tasks::Task& task;
  parallel::Hybrid& model;
  comm::Group& world;
  PhaseClock& phases;
  uint64_t seed = 0;  // of dropout
};

class StepRunner {
 public:
  StepRunner(const OptimConfig& config, int64_t total_steps, const StepParts& parts);

  // Every rank calls it with its own share of the same step. `stop`: this rank's wish, and
  // `step_before`: its times of the step before, travel with the loss. Throws run_error, the same
  // on every rank and before anything is updated, when the loss or the gradient norm is not finite:
  // with the step and what is to blame.
  StepOutcome run(const StepWork& work, bool stop, const RankTime& step_before = {});

 private:
  // This rank's share of the loss; gradients are summed when it returns.
  double accumulate(const StepWork& work);
  nn::Context context_of(const StepWork& work, size_t micro_batch);
  [[noreturn]] void fail(const StepWork& work, const StepOutcome& outcome);

  OptimConfig config_;
  optim::Schedule schedule_;
  StepParts parts_;
  std::vector<int64_t> suspects_;  // samples of the micro-batches here whose loss is not finite
};

}  // namespace trireme::train
