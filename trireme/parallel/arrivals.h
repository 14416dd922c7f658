// Which gradients of a step have come, by bucket: when a bucket may be reduced, and which Params no
// loss depended on. Pure counting.
#pragma once

#include <cstddef>
#include <vector>

#include "trireme/parallel/flat_layout.h"

namespace trireme::parallel {

class Arrivals {
 public:
  // A bucket like `layout`, the next one.
  void add(const FlatLayout& layout);
  // One more unit holds Params of the bucket.
  void add_unit(size_t bucket) { ++buckets_[bucket].units; }

  void begin_step();
  void begin_micro_batch();
  // The gradient of this micro-batch is there. Throws run_error when it was before.
  void arrive(size_t bucket, size_t slot);
  // Backward of one of the bucket's units has ended.
  void end_unit(size_t bucket) { --buckets_[bucket].open_units; }
  // A Param with some uses in this micro-batch but not all of them has its gradient nonetheless;
  // its count starts anew.
  void end_micro_batch();

  // All Params' gradients are there; or backward of all its units has ended.
  bool full(size_t bucket) const { return buckets_[bucket].pending == 0; }
  bool units_over(size_t bucket) const { return buckets_[bucket].open_units <= 0; }
  // Throws run_error that names the Params without a gradient in this step, frozen ones apart.
  void check_all_used() const;

 private:
  struct Bucket {
    std::vector<nn::Param*> params;  // by slot
    bool frozen;
    std::vector<bool> ready;  // by slot, in this micro-batch
    std::vector<bool> used;   // by slot, in any micro-batch of this step
    size_t pending;           // Params not ready in this micro-batch
    int units = 0;            // that hold a Param of it
    int open_units = 0;       // of them, whose backward has not ended in this micro-batch
  };
  std::vector<Bucket> buckets_;
};

}  // namespace trireme::parallel
