#include "trireme/data/order.h"

#include <algorithm>

#include "trireme/base/error.h"
#include "trireme/base/random.h"

namespace trireme::data {
namespace {

void check(std::span<const int32_t> lengths, const BatchPolicy& policy, const DataCursor& cursor) {
  if (lengths.empty()) throw input_error("no samples to train on: the data set is empty");
  if (policy.global_batch_samples < 0 || policy.global_batch_tokens < 0 ||
      (policy.global_batch_samples > 0) == (policy.global_batch_tokens > 0)) {
    throw input_error("set one of data.global_batch_samples (now ", policy.global_batch_samples,
                      ") and data.global_batch_tokens (now ", policy.global_batch_tokens,
                      ") to 1 or more, and leave the other out");
  }
  const auto samples = static_cast<int64_t>(lengths.size());
  if (cursor.epoch < 0 || cursor.position < 0 || cursor.position > samples) {
    throw input_error("the data cursor (epoch ", cursor.epoch, ", position ", cursor.position,
                      ") does not fit a data set of ", samples,
                      " samples: was the checkpoint made with other data?");
  }
}

// Where the batch that begins at `position` ends.
int64_t batch_end(std::span<const int32_t> lengths, const EpochOrder& order,
                  const BatchPolicy& policy, int64_t position) {
  if (policy.global_batch_samples > 0) {
    return policy.global_batch_samples < order.size() - position
               ? position + policy.global_batch_samples
               : order.size();
  }
  int64_t tokens = lengths[order(position)];
  int64_t end = position + 1;
  while (end < order.size() && (tokens += lengths[order(end)]) <= policy.global_batch_tokens) ++end;
  return end;
}

}  // namespace

EpochOrder::EpochOrder(uint64_t seed, int64_t epoch, int64_t samples)
    : order_(static_cast<uint64_t>(samples),
             mix_seeds(mix_seeds(seed, hash_name("data.order")), static_cast<uint64_t>(epoch))) {}

int64_t EpochOrder::operator()(int64_t position) const {
  return static_cast<int64_t>(order_(static_cast<uint64_t>(position)));
}

GlobalBatch next_global_batch(std::span<const int32_t> lengths, uint64_t seed,
                              const BatchPolicy& policy, const DataCursor& cursor) {
  check(lengths, policy, cursor);
  const auto samples = static_cast<int64_t>(lengths.size());
  DataCursor at = cursor;
  if (at.position == samples) {
    at.epoch += 1;
    at.position = 0;
  }
  const EpochOrder order(seed, at.epoch, samples);
  const int64_t end = batch_end(lengths, order, policy, at.position);
  GlobalBatch out;
  for (int64_t i = at.position; i < end; ++i) {
    const int64_t sample = order(i);
    out.samples.push_back(sample);
    out.lengths.push_back(lengths[sample]);
    out.tokens += lengths[sample];
  }
  out.next = {at.epoch, end, at.samples_seen + end - at.position};
  return out;
}

int64_t batches_left_in_epoch(std::span<const int32_t> lengths, uint64_t seed,
                              const BatchPolicy& policy, DataCursor cursor) {
  check(lengths, policy, cursor);
  const auto samples = static_cast<int64_t>(lengths.size());
  const EpochOrder order(seed, cursor.epoch, samples);
  int64_t batches = 0;
  while (cursor.position < samples) {
    cursor.position = batch_end(lengths, order, policy, cursor.position);
    ++batches;
  }
  return batches;
}

int64_t batches_in_epochs(std::span<const int32_t> lengths, uint64_t seed,
                          const BatchPolicy& policy, int64_t epochs) {
  int64_t batches = 0;
  for (int64_t epoch = 0; epoch < epochs; ++epoch) {
    batches += batches_left_in_epoch(lengths, seed, policy, {.epoch = epoch});
  }
  return batches;
}

}  // namespace trireme::data
