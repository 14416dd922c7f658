// The training loop.
//
//   const TrainResult result = train(config, schema.to_json(), world, task, {.resume = dir});
//
// A step: the next global batch (step_source.h) -> forward and backward of this rank's
// micro-batches, gradients summed behind backward (parallel/engine.h) -> clip -> AdamW -> schedule.
// The loss is the mean over the global batch; it travels in one small all-reduce together with this
// rank's wish to stop, so that all ranks stop after the same step.
//
// Stopping and resuming changes nothing: the losses of a run that was stopped after any step and
// resumed are, bit for bit, those of one that was not.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "trireme/base/clock.h"
#include "trireme/base/report.h"
#include "trireme/comm/world.h"
#include "trireme/parallel/holdings.h"
#include "trireme/tasks/task.h"
#include "trireme/train/config.h"

namespace trireme::train {

struct StepInfo {
  int64_t step = 0;  // steps done, this one included
  double loss = 0;
  double lr = 0;
  double grad_norm = 0;          // before clipping
  std::vector<int64_t> samples;  // of the global batch: indexes into the training set
};

struct TrainOptions {
  // A checkpoint, or a folder of them: go on from there. Empty: from the start.
  std::string resume = {};
  // Opens the initial weights and checks them; what it returns is called once for each tensor.
  // Called on rank 0, which deals them to all; not when resuming. Empty: drawn from train.seed.
  std::function<parallel::TensorReader()> open_weights = {};
  // Set by someone else: finish the step, save, return. See StopSignal.
  const std::atomic<bool>* stop = nullptr;
  // Where rank 0 shows progress; null: nowhere.
  std::ostream* progress = nullptr;
  bool progress_in_place = false;  // the stream is a terminal
  // Called after each step, on every rank.
  std::function<void(const StepInfo&)> on_step = {};
};

struct TrainResult {
  int64_t step = 0;              // steps done, those before a resume included
  bool interrupted = false;      // asked to stop before the end
  bool stopped_early = false;    // by train.early_stop_patience
  std::vector<double> losses;    // one a step, from the first
  double grad_norm = 0;          // of the last step, before clipping
  double lr = 0;                 // of the last step
  Json eval = Json::object();    // the last evaluation; empty: none
  Json best = Json::object();    // the best one, with its step; empty: none
  std::string checkpoint;        // the last that was saved; empty: none
  double real_tokens_per_s = 0;  // all ranks; median over blocks of steps
  double real_tokens_per_s_mean = 0;
  std::vector<int64_t>
      peak_rss_bytes;  // by rank: most private memory and shared buffers at a step's end
  std::vector<int64_t> vm_hwm_bytes;       // by rank: the kernel's peak, shared pages included
  Json peak_tensor_bytes = Json::array();  // by rank, see meters.h
  Json ranks = Json::array();     // by rank: {compute_s, wait_s} of all steps (rank_times.h)
  Json timings = Json::object();  // seconds of this rank by phase

  // Into report.metrics and report.timings, under the names that scripts read.
  void add_to(Report& report) const;
  // Throws Error(kInterrupted) that says where to go on from, when the run was interrupted.
  void check_not_interrupted() const;
};

// Trains `task`'s model; every rank calls it. `effective_config` is what checkpoints keep. Throws
// input_error for what does not fit (configuration, data, checkpoint), run_error when the run
// breaks: a loss or gradient that is not finite (with its cause), a dead peer, a full disk.
TrainResult train(const RunConfig& config, const Json& effective_config, comm::World& world,
                  tasks::Task& task, const TrainOptions& options = {});

}  // namespace trireme::train
