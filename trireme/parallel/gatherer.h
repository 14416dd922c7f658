// Which units' values are whole when (ZeRO stage 3): gathered before a unit's forward and before
// its backward, one unit ahead of need, freed behind it. The last unit's stay from forward to
// backward, which begins with it.
//
// Order of operations: what is gathered when depends on the order of the hooks alone, so ranks that
// run the same units gather alike.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "trireme/parallel/bucket.h"

namespace trireme::parallel {

// A unit and the buckets that hold its Params, in the model's order of forward.
struct UnitBuckets {
  std::string name;
  std::vector<Bucket*> buckets;
  bool backward_reads_values = true;
};

class Gatherer {
 public:
  explicit Gatherer(std::vector<UnitBuckets> units) : units_(std::move(units)) {}

  void before_forward(size_t unit);
  // backward_follows: of this very forward.
  void after_forward(size_t unit, bool backward_follows);
  void before_backward(size_t unit);
  void after_backward(size_t unit);
  // Frees what was gathered ahead and did not come to use.
  void drop_ahead();
  // Forgets everything that is in use.
  void reset();

 private:
  // Whole values of `unit` now, and a start on those of `next`.
  void enter(size_t unit, std::optional<size_t> next);
  void acquire(size_t unit);
  void release(size_t unit);

  std::vector<UnitBuckets> units_;
  std::optional<size_t> ahead_;  // acquired before its turn
};

}  // namespace trireme::parallel
