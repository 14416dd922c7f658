// What is measured of a run: speed, where the time goes, and memory.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "trireme/base/clock.h"
#include "trireme/base/json.h"

namespace trireme::train {

// Real tokens a second, by blocks of steps. The first steps warm caches and thread pools and are
// left out (unless there are no others).
class Throughput {
 public:
  static constexpr int64_t kWarmupSteps = 5;
  static constexpr int64_t kBlockSteps = 10;

  void add_step(int64_t real_tokens, double seconds);
  // Of the whole blocks; of what there is when no block is whole. 0 without steps.
  double median() const;
  double mean() const;
  // Over the last block's length of steps: for the progress line.
  double recent() const;

 private:
  struct Step {
    double tokens;
    double seconds;
  };
  double rate(size_t begin, size_t end) const;
  size_t first() const;  // timed step

  std::vector<Step> steps_;
};

enum class Phase {
  kOther,
  kDataWait,  // for the step's batches
  kForward,
  kBackward,
  kPipeline,   // forward and backward of a pipeline's schedule, waits for other stages included
  kCommWait,   // for gradients that are not summed when backward ends, and for the loss
  kOptimizer,  // norm, clipping, update
  kEval,
  kCheckpoint,
};

// Shares out this thread's time: every moment belongs to the phase entered last.
class PhaseClock {
 public:
  // In kOther. The clock must outlive it.
  explicit PhaseClock(const Clock& clock) : watch_(clock) {}

  void enter(Phase phase);
  // Seconds by phase so far: {"data_wait_s": 0.1, ...}.
  Json seconds();

 private:
  static constexpr size_t kPhases = 9;
  Stopwatch watch_;
  Phase phase_ = Phase::kOther;
  std::array<double, kPhases> seconds_{};
};

struct ProcessMemory {
  int64_t private_bytes = 0;   // anonymous memory, resident now; shared buffers are not in it
  int64_t peak_rss_bytes = 0;  // VmHWM: the most that was ever resident, shared file pages included
};

// Of this process, from /proc/self/status. About 20 us.
ProcessMemory process_memory();

// The most bytes of tensors at once, {"parameters": ..., "gradients": ..., "optimizer": ...,
// "activations": ...}; null where the caching allocator is not installed.
Json peak_tensor_bytes();

}  // namespace trireme::train
