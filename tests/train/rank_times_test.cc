#include "trireme/train/rank_times.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "tests/train/fake_task.h"

namespace trireme::train {
namespace {

using ::testing::ContainsRegex;
using ::testing::ElementsAre;
using ::testing::Not;
using testing::train_fake;

std::vector<int> slow_of(const std::vector<double>& compute_s) {
  std::vector<int> ranks;
  for (const SlowRank& slow : slow_ranks(compute_s)) ranks.push_back(slow.rank);
  return ranks;
}

TEST(SlowRanks, ThoseWellAboveTheMedianOfTheOthers) {
  EXPECT_TRUE(slow_of({1}).empty());
  EXPECT_TRUE(slow_of({1, 1.4}).empty());
  EXPECT_THAT(slow_of({1, 1.5}), ElementsAre(1));
  EXPECT_THAT(slow_of({3, 1, 1, 4}), ElementsAre(0, 3));
  EXPECT_TRUE(slow_of({0, 0}).empty());
  const SlowRank slow = slow_ranks({1, 2, 1.2, 3.6}).at(0);
  EXPECT_EQ(slow.rank, 1);
  EXPECT_EQ(slow_ranks({1, 2, 1.2, 3.6}).at(1).median_s, 1.2);
  EXPECT_DOUBLE_EQ(slow_ranks({1, 2, 1.2, 3.6}).at(1).factor(), 3);
}

TEST(SlowRanks, AreNamedOnceForAsLongAsTheyAreSlow) {
  SlowRankWatch watch;
  const auto block = [&](double second, double spike = 0) {
    std::vector<int> ranks;
    for (int64_t i = 0; i < SlowRankWatch::kBlockSteps; ++i) {
      for (const SlowRank& slow :
           watch.add_step({{1, 0}, {second, 0}, {1 + (i == 3 ? spike : 0), 9}}))
        ranks.push_back(slow.rank);
    }
    return ranks;
  };
  EXPECT_TRUE(block(1.1, /*spike=*/5).empty()) << "a single late step";
  EXPECT_THAT(block(2), ElementsAre(1));
  EXPECT_TRUE(block(2).empty()) << "said already";
  EXPECT_TRUE(block(1).empty());
  EXPECT_THAT(block(2), ElementsAre(1)) << "slow again";
}

// One rank of three sleeps in each of its forward passes: it computes, the others wait for it.
TEST(Trainer, NamesASlowRankAndReportsComputeAndWaitByRank) {
  std::ostringstream progress;
  testing::RunSpec run{.settings = {"train.steps=24", "data.micro_batch_tokens=4096"},
                       .ranks = 3,
                       .slow_rank = 2,
                       .slow_s = 0.03};
  run.options.progress = &progress;
  const Json ranks = train_fake(run).result.ranks;
  ASSERT_EQ(ranks.size(), 3U);
  const auto of = [&](size_t rank, const char* key) { return ranks[rank][key].get<double>(); };
  EXPECT_GE(of(2, "compute_s"), 24 * 0.03);
  for (const size_t other : {0, 1}) {
    EXPECT_GE(of(2, "compute_s"), 1.5 * of(other, "compute_s"));
    EXPECT_GE(of(other, "wait_s"), 2 * of(2, "wait_s"));
  }
  EXPECT_THAT(progress.str(),
              ContainsRegex("rank 2 \\(host [^ ]*, pid [0-9]*\\) computes [0-9.]* times the median "
                            "of the other ranks \\([0-9.]* s against [0-9.]* s a step, steps 2 to "
                            "21\\)"));
  EXPECT_THAT(progress.str(), Not(ContainsRegex("rank [01] \\(host")));
}

}  // namespace
}  // namespace trireme::train
