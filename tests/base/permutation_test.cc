#include "trireme/base/permutation.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "tests/base/test_util.h"

namespace trireme {
namespace {

void expect_bijection(std::uint64_t n, std::uint64_t seed) {
  const Permutation order(n, seed);
  std::vector<bool> seen(n, false);
  for (std::uint64_t i = 0; i < n; ++i) {
    const std::uint64_t value = order(i);
    ASSERT_LT(value, n) << "n " << n << " seed " << seed << " at " << i;
    ASSERT_FALSE(seen[value]) << "n " << n << " seed " << seed << " at " << i;
    ASSERT_EQ(order.place_of(value), i) << "n " << n << " seed " << seed;
    seen[value] = true;
  }
}

TEST(Permutation, IsABijectionForEverySmallSize) {
  for (std::uint64_t n = 0; n <= 600; ++n) {
    for (std::uint64_t seed = 0; seed < 3; ++seed) expect_bijection(n, seed);
  }
}

TEST(Permutation, IsABijectionAroundPowersOfTwoAndAtOddSizes) {
  for (const std::uint64_t n :
       {1023U, 1024U, 1025U, 4095U, 4097U, 65535U, 65536U, 65537U, 86821U, 100003U, 262143U}) {
    expect_bijection(n, 42 + n);
  }
}

TEST(Permutation, LargeSizesStayInsideAndInvert) {
  for (const std::uint64_t n : {(1ULL << 40) + 7, (1ULL << 62) + 1, 1ULL << 63}) {
    const Permutation order(n, 9);
    for (std::uint64_t k = 0; k < 1000; ++k) {
      const std::uint64_t i = k * (n / 1000);
      ASSERT_LT(order(i), n);
      ASSERT_EQ(order.place_of(order(i)), i);
    }
  }
}

TEST(Permutation, RefusesMoreThanItCanHold) {
  EXPECT_EQ(test::input_error_of([] { Permutation((1ULL << 63) + 1, 0); }),
            "a permutation of 9223372036854775809 items is too large");
}

// All 24 orders of four items come about equally often over seeds: chi square with 23 degrees of
// freedom, below the 99.99 % point 56.
TEST(Permutation, SmallOrdersAreEquallyLikely) {
  std::map<std::vector<std::uint64_t>, int> counts;
  constexpr int kSeeds = 24000;
  for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
    const Permutation order(4, seed);
    ++counts[{order(0), order(1), order(2), order(3)}];
  }
  ASSERT_EQ(counts.size(), 24U);
  double chi_square = 0;
  for (const auto& [order, count] : counts) {
    chi_square += (count - kSeeds / 24.0) * (count - kSeeds / 24.0) / (kSeeds / 24.0);
  }
  EXPECT_LT(chi_square, 56);
}

// Where an item lands is uniform, and neighbours do not stay together.
TEST(Permutation, ScattersNeighbours) {
  constexpr std::uint64_t kN = 10000;
  const Permutation order(kN, 3);
  int near = 0;
  std::vector<int> tenth(10, 0);
  for (std::uint64_t i = 0; i + 1 < kN; ++i) {
    const auto a = static_cast<std::int64_t>(order(i));
    const auto b = static_cast<std::int64_t>(order(i + 1));
    if (std::abs(a - b) <= 10) ++near;
    if (i < kN / 10) ++tenth[order(i) / (kN / 10)];
  }
  EXPECT_NEAR(near, 20, 20);  // expected 2 * 10 of 10,000
  for (const int count : tenth) EXPECT_NEAR(count, 100, 45);
}

TEST(Permutation, SeedsGiveDifferentOrders) {
  int same = 0;
  const Permutation a(1000, 1);
  const Permutation b(1000, 2);
  for (std::uint64_t i = 0; i < 1000; ++i) same += a(i) == b(i) ? 1 : 0;
  EXPECT_LT(same, 12);  // 1 is expected
}

// The order of samples is part of bit-exact resume: these values must never change. Made by
// golden/random_values.py.
TEST(Permutation, GoldenValues) {
  const Permutation order(10, 1234);
  std::vector<std::uint64_t> values;
  for (std::uint64_t i = 0; i < 10; ++i) values.push_back(order(i));
  EXPECT_EQ(values, (std::vector<std::uint64_t>{4, 7, 9, 2, 3, 8, 5, 1, 0, 6}));
}

}  // namespace
}  // namespace trireme
