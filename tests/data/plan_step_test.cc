#include "trireme/data/plan_step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "trireme/base/error.h"
#include "trireme/base/random.h"

namespace trireme::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string message_of(const std::vector<int32_t>& lengths, const PlanOptions& options) {
  try {
    plan_step(lengths, options);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInput);
    return e.what();
  }
  return "no error";
}

TEST(PlanStep, OneRankTakesAllInOneMicroBatch) {
  const std::vector<int32_t> lengths = {10, 20, 30};
  const StepPlan plan = plan_step(lengths, {.micro_batch_tokens = 100});
  ASSERT_EQ(plan.ranks.size(), 1U);
  ASSERT_EQ(plan.micro_batches(), 1);
  EXPECT_THAT(plan.ranks[0][0].samples, ElementsAre(0, 1, 2));
  EXPECT_EQ(plan.ranks[0][0].tokens, 60);
  EXPECT_EQ(plan.ranks[0][0].rows, 64);
  EXPECT_EQ(plan.tokens, 60);
}

TEST(PlanStep, LongestGoFirstAndTheLightestTakesTheNext) {
  // Dealt 50 | 40, 30 to the second, 20 to the first, 10 to the first of two at 70.
  const std::vector<int32_t> lengths = {10, 50, 30, 20, 40};
  const StepPlan plan = plan_step(lengths, {.dp = 2, .micro_batch_tokens = 100});
  ASSERT_EQ(plan.micro_batches(), 1);
  EXPECT_THAT(plan.ranks[0][0].samples, ElementsAre(0, 1, 3));
  EXPECT_THAT(plan.ranks[1][0].samples, ElementsAre(2, 4));
  EXPECT_EQ(plan.ranks[0][0].rows, 128);
  EXPECT_EQ(plan.ranks[1][0].rows, 128);
}

TEST(PlanStep, MoreMicroBatchesWhenTheLimitIsReached) {
  const std::vector<int32_t> lengths = {60, 60, 60, 60};
  const StepPlan plan = plan_step(lengths, {.dp = 2, .micro_batch_tokens = 100});
  ASSERT_EQ(plan.micro_batches(), 2);
  for (const auto& rank : plan.ranks) {
    ASSERT_EQ(rank.size(), 2U);
    for (const MicroBatch& micro : rank) EXPECT_EQ(micro.tokens, 60);
  }
}

TEST(PlanStep, RankWithNothingLeftRunsPaddingRows) {
  const std::vector<int32_t> lengths = {33};
  const StepPlan plan = plan_step(lengths, {.dp = 3, .micro_batch_tokens = 64});
  ASSERT_EQ(plan.ranks.size(), 3U);
  EXPECT_THAT(plan.ranks[0][0].samples, ElementsAre(0));
  for (int rank = 1; rank < 3; ++rank) {
    ASSERT_EQ(plan.ranks[rank].size(), 1U);
    EXPECT_THAT(plan.ranks[rank][0].samples, IsEmpty());
    EXPECT_EQ(plan.ranks[rank][0].tokens, 0);
    EXPECT_EQ(plan.ranks[rank][0].rows, 64);
  }
}

TEST(PlanStep, EmptyGlobalBatchIsOneEmptyMicroBatchARank) {
  const StepPlan plan = plan_step({}, {.dp = 2, .micro_batch_tokens = 10});
  EXPECT_EQ(plan.micro_batches(), 1);
  EXPECT_EQ(plan.ranks[1][0].rows, 64);
  EXPECT_EQ(plan.tokens, 0);
}

TEST(PlanStep, ContextParallelRanksShareAMicroBatch) {
  const std::vector<int32_t> lengths = {150, 30};
  const StepPlan plan = plan_step(lengths, {.cp = 2, .micro_batch_tokens = 100});
  ASSERT_EQ(plan.micro_batches(), 1);
  EXPECT_EQ(plan.ranks[0][0].tokens, 180);
  EXPECT_EQ(plan.ranks[0][0].rows, 256);  // a multiple of 64 for each of the two
}

TEST(PlanStep, ErrorsNameTheSampleAndTheLimit) {
  EXPECT_THAT(message_of({5, 101}, {.micro_batch_tokens = 100}),
              HasSubstr("sample 1 of the global batch has 101 tokens, a micro-batch at most 100"));
  EXPECT_THAT(message_of({5, 101}, {.micro_batch_tokens = 100}),
              HasSubstr("data.micro_batch_tokens"));
  EXPECT_THAT(message_of({201}, {.cp = 2, .micro_batch_tokens = 100}), HasSubstr("at most 200"));
  EXPECT_THAT(message_of({5, 0}, {.micro_batch_tokens = 100}), HasSubstr("sample 1"));
  EXPECT_THAT(message_of({5}, {.micro_batch_tokens = 0}), HasSubstr("between 1 and"));
  EXPECT_THAT(message_of({5}, {.micro_batch_tokens = int64_t{1} << 40}),
              HasSubstr("between 1 and"));
  EXPECT_THAT(message_of({5}, {.dp = 0, .micro_batch_tokens = 9}), HasSubstr("dp = 0"));
  EXPECT_THAT(message_of({5}, {.cp = -1, .micro_batch_tokens = 9}), HasSubstr("cp = -1"));
}

// Draws of random cases.
class Draw {
 public:
  explicit Draw(uint64_t stream) : stream_(stream) {}
  int64_t between(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(uniform_below(high - low + 1, 7, stream_, next_++));
  }

 private:
  uint64_t stream_;
  uint64_t next_ = 0;
};

class PlanStepProperty : public testing::TestWithParam<int> {};

TEST_P(PlanStepProperty, HoldsOnRandomBatches) {
  for (int round = 0; round < 1000; ++round) {
    Draw draw(GetParam() * 1000 + round);
    const PlanOptions options{.dp = static_cast<int>(draw.between(1, 9)),
                              .cp = static_cast<int>(draw.between(1, 3)),
                              .micro_batch_tokens = draw.between(1, 600)};
    const int64_t capacity = options.micro_batch_tokens * options.cp;
    // Long, short and mixed lengths; batches down to none.
    const int64_t longest = draw.between(1, capacity);
    std::vector<int32_t> lengths(draw.between(0, 120));
    for (int32_t& length : lengths) length = static_cast<int32_t>(draw.between(1, longest));

    const StepPlan plan = plan_step(lengths, options);
    SCOPED_TRACE(testing::Message() << "round " << round << ", " << lengths.size() << " samples");

    std::vector<int> used(lengths.size(), 0);
    int64_t lightest = capacity, heaviest = 0, least = INT64_MAX, most = 0;
    ASSERT_EQ(plan.ranks.size(), static_cast<size_t>(options.dp));
    for (const auto& rank : plan.ranks) {
      ASSERT_EQ(rank.size(), plan.ranks[0].size());  // as many for every rank
      int64_t total = 0;
      for (const MicroBatch& micro : rank) {
        int64_t tokens = 0;
        ASSERT_TRUE(std::is_sorted(micro.samples.begin(), micro.samples.end()));
        for (const int32_t sample : micro.samples) {
          ++used.at(sample);
          tokens += lengths[sample];
        }
        ASSERT_EQ(micro.tokens, tokens);
        ASSERT_LE(tokens, capacity);
        ASSERT_EQ(micro.rows % (64 * options.cp), 0);
        ASSERT_GE(micro.rows, std::max<int64_t>(tokens, 64 * options.cp));
        ASSERT_LT(micro.rows, std::max<int64_t>(tokens, 1) + 64 * options.cp);
        lightest = std::min(lightest, tokens);
        heaviest = std::max(heaviest, tokens);
        total += tokens;
      }
      least = std::min(least, total);
      most = std::max(most, total);
    }
    ASSERT_TRUE(std::all_of(used.begin(), used.end(), [](int n) { return n == 1; }));
    const int64_t bound = lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
    ASSERT_LE(heaviest - lightest, bound);
    ASSERT_LE(most - least, bound);
    // No more micro-batches than twice what the tokens need: LPT leaves none half empty for long.
    const int64_t needed =
        (plan.tokens + capacity * options.dp - 1) / std::max<int64_t>(1, capacity * options.dp);
    ASSERT_LE(plan.micro_batches(), std::max<int64_t>(1, 2 * needed));

    const StepPlan again = plan_step(lengths, options);
    for (size_t rank = 0; rank < plan.ranks.size(); ++rank) {
      for (size_t micro = 0; micro < plan.ranks[rank].size(); ++micro) {
        ASSERT_EQ(plan.ranks[rank][micro].samples, again.ranks[rank][micro].samples);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Thousands, PlanStepProperty, testing::Range(0, 5));

}  // namespace
}  // namespace trireme::data
