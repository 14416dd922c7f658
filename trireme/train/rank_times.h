// Where the ranks' time goes, step by step, and which rank the others wait for.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

namespace trireme::train {

// Of a step, or of several.
struct RankTime {
  double compute_s = 0;  // all that is not waiting for other ranks, data included
  double wait_s = 0;     // blocked in waits for operations
};

struct SlowRank {
  int rank = 0;
  double compute_s = 0;  // a step
  double median_s = 0;   // of the other ranks
  double factor() const { return compute_s / median_s; }
};

// Those whose compute time is at least SlowRankWatch::kFactor times the median of the others'.
// Pure.
std::vector<SlowRank> slow_ranks(const std::vector<double>& compute_s);

// Looks at blocks of steps, so that a single late step or an uneven batch names nobody.
class SlowRankWatch {
 public:
  static constexpr int64_t kBlockSteps = 20;
  static constexpr double kFactor = 1.5;

  // One step's times, by rank. At the end of a block: the ranks that were slow in it and were not
  // in the block before.
  std::vector<SlowRank> add_step(const std::vector<RankTime>& times);

 private:
  std::vector<double> compute_s_;  // by rank, of the block so far
  int64_t steps_ = 0;
  std::set<int> slow_before_;
};

}  // namespace trireme::train
