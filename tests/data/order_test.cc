#include "trireme/data/order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "trireme/base/error.h"
#include "trireme/base/random.h"

namespace trireme::data {
namespace {

using testing::HasSubstr;

std::vector<int32_t> some_lengths(int64_t samples) {
  std::vector<int32_t> out(samples);
  for (int64_t i = 0; i < samples; ++i) {
    out[i] = static_cast<int32_t>(1 + uniform_below(200, 3, 0, i));
  }
  return out;
}

std::vector<int64_t> epoch_of(uint64_t seed, int64_t epoch, int64_t samples) {
  const EpochOrder order(seed, epoch, samples);
  std::vector<int64_t> out;
  for (int64_t i = 0; i < samples; ++i) out.push_back(order(i));
  return out;
}

TEST(EpochOrder, IsAPermutationOfItsOwn) {
  const std::vector<int64_t> first = epoch_of(1, 0, 1000);
  EXPECT_EQ(std::set<int64_t>(first.begin(), first.end()).size(), 1000U);
  EXPECT_EQ(*std::max_element(first.begin(), first.end()), 999);
  EXPECT_EQ(first, epoch_of(1, 0, 1000));
  EXPECT_NE(first, epoch_of(1, 1, 1000));
  EXPECT_NE(first, epoch_of(2, 0, 1000));
  EXPECT_FALSE(std::is_sorted(first.begin(), first.end()));
}

TEST(NextGlobalBatch, BySamplesCutsTheEpochAndItsLastIsShort) {
  const std::vector<int32_t> lengths = some_lengths(10);
  const BatchPolicy policy{.global_batch_samples = 4};
  DataCursor cursor;
  std::vector<int64_t> used;
  std::vector<size_t> sizes;
  for (int step = 0; step < 3; ++step) {
    const GlobalBatch batch = next_global_batch(lengths, 9, policy, cursor);
    sizes.push_back(batch.samples.size());
    used.insert(used.end(), batch.samples.begin(), batch.samples.end());
    for (size_t i = 0; i < batch.samples.size(); ++i) {
      EXPECT_EQ(batch.lengths[i], lengths[batch.samples[i]]);
    }
    EXPECT_EQ(batch.tokens, std::accumulate(batch.lengths.begin(), batch.lengths.end(), 0));
    cursor = batch.next;
  }
  EXPECT_THAT(sizes, testing::ElementsAre(4, 4, 2));
  EXPECT_EQ(used, epoch_of(9, 0, 10));
  EXPECT_EQ(cursor, (DataCursor{.epoch = 0, .position = 10, .samples_seen = 10}));
  const GlobalBatch next = next_global_batch(lengths, 9, policy, cursor);
  EXPECT_EQ(next.samples.front(), epoch_of(9, 1, 10).front());
  EXPECT_EQ(next.next, (DataCursor{.epoch = 1, .position = 4, .samples_seen = 14}));
}

TEST(NextGlobalBatch, ByTokensTakesWhatFits) {
  const std::vector<int32_t> lengths(10, 30);
  const BatchPolicy policy{.global_batch_tokens = 100};
  const GlobalBatch batch = next_global_batch(lengths, 1, policy, {});
  EXPECT_EQ(batch.samples.size(), 3U);
  EXPECT_EQ(batch.tokens, 90);
  EXPECT_EQ(next_global_batch(lengths, 1, {.global_batch_tokens = 90}, {}).samples.size(), 3U);
  EXPECT_EQ(next_global_batch(lengths, 1, {.global_batch_tokens = 89}, {}).samples.size(), 2U);
  EXPECT_EQ(next_global_batch(lengths, 1, {.global_batch_tokens = 1}, {}).samples.size(), 1U);
  EXPECT_EQ(batches_in_epochs(lengths, 1, policy, 2), 8);
}

TEST(NextGlobalBatch, EveryPolicyUsesEverySampleOnceAnEpochAndResumesAnywhere) {
  const std::vector<int32_t> lengths = some_lengths(257);
  for (const BatchPolicy& policy :
       {BatchPolicy{.global_batch_samples = 1}, BatchPolicy{.global_batch_samples = 16},
        BatchPolicy{.global_batch_samples = 1000}, BatchPolicy{.global_batch_tokens = 1},
        BatchPolicy{.global_batch_tokens = 777}, BatchPolicy{.global_batch_tokens = 1 << 30}}) {
    DataCursor cursor;
    int64_t steps = 0;
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      std::vector<int64_t> used;
      while (used.size() < lengths.size()) {
        // A resume knows nothing but the cursor.
        const GlobalBatch batch = next_global_batch(lengths, 5, policy, cursor);
        ASSERT_FALSE(batch.samples.empty());
        if (policy.global_batch_tokens > 0 && batch.samples.size() > 1) {
          ASSERT_LE(batch.tokens, policy.global_batch_tokens);
        }
        used.insert(used.end(), batch.samples.begin(), batch.samples.end());
        cursor = batch.next;
        ASSERT_EQ(cursor.epoch, epoch);
        ++steps;
      }
      ASSERT_EQ(used, epoch_of(5, epoch, 257));
    }
    EXPECT_EQ(cursor.samples_seen, 3 * 257);
    EXPECT_EQ(batches_in_epochs(lengths, 5, policy, 3), steps);
    EXPECT_EQ(batches_left_in_epoch(lengths, 5, policy, cursor), 0);
  }
}

TEST(NextGlobalBatch, ABatchCutDifferentlyLaterLeavesNothingOut) {
  // The batch size changes in mid-epoch (another policy, an elastic resize): still exactly once.
  const std::vector<int32_t> lengths = some_lengths(100);
  DataCursor cursor;
  std::vector<int64_t> used;
  for (int64_t step = 0; used.size() < 100; ++step) {
    const BatchPolicy policy = step % 2 == 0 ? BatchPolicy{.global_batch_samples = 1 + step}
                                             : BatchPolicy{.global_batch_tokens = 300};
    const GlobalBatch batch = next_global_batch(lengths, 5, policy, cursor);
    used.insert(used.end(), batch.samples.begin(), batch.samples.end());
    cursor = batch.next;
  }
  EXPECT_EQ(used, epoch_of(5, 0, 100));
}

TEST(NextGlobalBatch, WrongInputIsNamed) {
  const auto message = [](int64_t samples, const BatchPolicy& policy, const DataCursor& cursor) {
    try {
      next_global_batch(std::vector<int32_t>(samples, 5), 1, policy, cursor);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInput);
      return std::string(e.what());
    }
    return std::string("no error");
  };
  const BatchPolicy good{.global_batch_samples = 2};
  EXPECT_THAT(message(0, good, {}), HasSubstr("empty"));
  EXPECT_THAT(message(5, {}, {}), HasSubstr("data.global_batch_samples"));
  EXPECT_THAT(message(5, {.global_batch_samples = 1, .global_batch_tokens = 1}, {}),
              HasSubstr("leave the other out"));
  EXPECT_THAT(message(5, {.global_batch_samples = -3}, {}), HasSubstr("now -3"));
  EXPECT_THAT(message(5, good, {.position = 6}), HasSubstr("position 6"));
  EXPECT_THAT(message(5, good, {.epoch = -1}), HasSubstr("epoch -1"));
}

}  // namespace
}  // namespace trireme::data
