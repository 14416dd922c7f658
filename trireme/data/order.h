// In which order the samples of an epoch are used, and how its global batches are cut.
//
//   DataCursor cursor;                                            // or the checkpoint's
//   GlobalBatch batch = next_global_batch(lengths, seed, policy, cursor);
//   ...one step on batch.samples...
//   cursor = batch.next;                                          // when the step is committed
//
// Every sample of an epoch is used exactly once, whatever happens between: the order is a keyed
// permutation with random access, so (seed, epoch, position) is the whole state, and a batch
// depends on nothing else: not on ranks, micro-batches, restarts. An epoch's last batch may be
// short; nothing is padded with duplicates, nothing dropped.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "trireme/base/permutation.h"

namespace trireme::data {

// The order of epoch `epoch` of `samples` samples.
class EpochOrder {
 public:
  EpochOrder(uint64_t seed, int64_t epoch, int64_t samples);

  int64_t size() const { return static_cast<int64_t>(order_.size()); }
  // The sample that is used as the position-th (< size()) of the epoch.
  int64_t operator()(int64_t position) const;

 private:
  Permutation order_;
};

// What a checkpoint holds of the data: the next batch begins at `position` of epoch `epoch`.
struct DataCursor {
  int64_t epoch = 0;
  int64_t position = 0;      // samples of this epoch that are used up
  int64_t samples_seen = 0;  // over all epochs

  bool operator==(const DataCursor&) const = default;
};

// Exactly one of the two is set (> 0).
struct BatchPolicy {
  int64_t global_batch_samples = 0;
  int64_t global_batch_tokens = 0;  // as many samples as fit; a longer one is a batch of its own
};

struct GlobalBatch {
  std::vector<int64_t> samples;  // indexes into the data set, in the order of use; never empty
  std::vector<int32_t> lengths;  // their tokens, for plan_step
  int64_t tokens = 0;            // sum of lengths
  DataCursor next;               // where the following batch begins
};

// The batch at `cursor`. A cursor at the end of an epoch gives the first batch of the next one.
// `lengths`: tokens of every sample of the data set. Throws input_error for an empty data set, a
// policy that sets none or both, or a cursor that does not fit the data set (a checkpoint of other
// data).
GlobalBatch next_global_batch(std::span<const int32_t> lengths, uint64_t seed,
                              const BatchPolicy& policy, const DataCursor& cursor);

// Steps that the rest of the epoch takes from this cursor on; 0 at its end.
int64_t batches_left_in_epoch(std::span<const int32_t> lengths, uint64_t seed,
                              const BatchPolicy& policy, DataCursor cursor);

// Steps of whole epochs 0 .. epochs - 1: what a schedule aims at.
int64_t batches_in_epochs(std::span<const int32_t> lengths, uint64_t seed,
                          const BatchPolicy& policy, int64_t epochs);

}  // namespace trireme::data
