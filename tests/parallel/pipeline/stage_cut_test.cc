#include "trireme/parallel/pipeline/stage_cut.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "trireme/base/error.h"
#include "trireme/base/random.h"

namespace trireme::parallel::pipeline {
namespace {

using ::testing::ElementsAre;

double largest_run(const std::vector<double>& costs, const std::vector<size_t>& begins) {
  double most = 0;
  for (size_t k = 0; k + 1 < begins.size(); ++k) {
    double run = 0;
    for (size_t i = begins[k]; i < begins[k + 1]; ++i) run += costs[i];
    most = std::max(most, run);
  }
  return most;
}

// By trying every cut.
double least_largest(const std::vector<double>& costs, size_t begin, int chunks) {
  if (chunks == 1) {
    double run = 0;
    for (size_t i = begin; i < costs.size(); ++i) run += costs[i];
    return run;
  }
  double best = 1e300, run = 0;
  for (size_t end = begin + 1; end + static_cast<size_t>(chunks) - 1 <= costs.size(); ++end) {
    run += costs[end - 1];
    best = std::min(best, std::max(run, least_largest(costs, end, chunks - 1)));
  }
  return best;
}

TEST(StageCut, AHeavyHeadGetsFewerBlocks) {
  EXPECT_THAT(cut_units(std::vector<double>{1, 4, 4, 4, 4, 12}, 2), ElementsAre(0, 4, 6));
  EXPECT_THAT(cut_units(std::vector<double>{1, 1, 1, 1}, 2), ElementsAre(0, 2, 4));
  EXPECT_THAT(cut_units(std::vector<double>{5}, 1), ElementsAre(0, 1));
}

TEST(StageCut, AmongTheBestTheMostEqualOne) {
  // 9 alone sets the bound; the rest could lie as 5 | 1 too.
  EXPECT_THAT(cut_units(std::vector<double>{1, 2, 3, 9}, 3), ElementsAre(0, 2, 3, 4));
  EXPECT_THAT(cut_units(std::vector<double>{9, 1, 1, 1, 1}, 3), ElementsAre(0, 1, 3, 5));
  EXPECT_THAT(cut_units(std::vector<double>{0, 0, 0}, 3), ElementsAre(0, 1, 2, 3));
}

TEST(StageCut, IsTheBestOfAll) {
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<double> costs(static_cast<size_t>(1 + trial % 10));
    for (size_t i = 0; i < costs.size(); ++i) {
      costs[i] = static_cast<double>(mix_seeds(static_cast<uint64_t>(trial), i) % 10);
    }
    for (int chunks = 1; chunks <= static_cast<int>(costs.size()); ++chunks) {
      const auto begins = cut_units(costs, chunks);
      ASSERT_EQ(begins.size(), static_cast<size_t>(chunks) + 1);
      EXPECT_EQ(begins.front(), 0U);
      EXPECT_EQ(begins.back(), costs.size());
      for (size_t k = 0; k + 1 < begins.size(); ++k) EXPECT_LT(begins[k], begins[k + 1]);
      EXPECT_EQ(largest_run(costs, begins), least_largest(costs, 0, chunks));
    }
  }
}

TEST(StageCut, FewerUnitsThanChunksIsAnError) {
  try {
    cut_units(std::vector<double>{1, 1}, 3);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("2 units"));
  }
  EXPECT_THROW(cut_units(std::vector<double>{1, -1}, 1), Error);
  EXPECT_THROW(cut_units(std::vector<double>{1}, 0), Error);
}

}  // namespace
}  // namespace trireme::parallel::pipeline
