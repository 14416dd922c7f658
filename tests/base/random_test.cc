#include "trireme/base/random.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>
#include <string>
#include <vector>

namespace trireme {
namespace {

// Philox from its definition, on purpose unlike the implementation: 64-bit words, explicit key
// schedule.
std::vector<std::uint32_t> slow_philox(int rounds, std::vector<std::uint32_t> x,
                                       std::vector<std::uint32_t> key) {
  for (int round = 0; round < rounds; ++round) {
    const auto bump = static_cast<std::uint64_t>(round);
    const auto k0 = static_cast<std::uint32_t>(key[0] + bump * 2654435769U);
    const auto k1 = static_cast<std::uint32_t>(key[1] + bump * 3144134277U);
    const std::uint64_t p0 = static_cast<std::uint64_t>(x[0]) * 3528531795U;
    const std::uint64_t p1 = static_cast<std::uint64_t>(x[2]) * 3449720151U;
    const std::vector<std::uint32_t> next = {
        static_cast<std::uint32_t>((p1 / 4294967296U) ^ x[1] ^ k0),
        static_cast<std::uint32_t>(p1 % 4294967296U),
        static_cast<std::uint32_t>((p0 / 4294967296U) ^ x[3] ^ k1),
        static_cast<std::uint32_t>(p0 % 4294967296U)};
    x = next;
  }
  return x;
}

// Known answers that the authors of Philox publish with their library: zeros, ones, and the digits
// of pi.
TEST(Philox, KnownAnswersOfTenRounds) {
  EXPECT_EQ(philox4x32<10>({0, 0, 0, 0}, {0, 0}),
            (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32<10>({~0U, ~0U, ~0U, ~0U}, {~0U, ~0U}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(
      philox4x32<10>({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
      (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, KnownAnswersOfSevenRounds) {
  EXPECT_EQ(philox4x32<7>({0, 0, 0, 0}, {0, 0}),
            (PhiloxCounter{0x5f6fb709, 0x0d893f64, 0x4f121f81, 0x4f730a48}));
  EXPECT_EQ(philox4x32<7>({~0U, ~0U, ~0U, ~0U}, {~0U, ~0U}),
            (PhiloxCounter{0x5207ddc2, 0x45165e59, 0x4d8ee751, 0x8c52f662}));
  EXPECT_EQ(
      philox4x32<7>({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
      (PhiloxCounter{0x4dfccaba, 0x190a87f0, 0xc47362ba, 0xb6b5242a}));
}

template <int kRounds>
void expect_definition() {
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const PhiloxCounter counter = philox_counter(splitmix64(i), splitmix64(i + 10000));
    const PhiloxKey key = philox_key(splitmix64(i + 20000));
    const PhiloxCounter fast = philox4x32<kRounds>(counter, key);
    ASSERT_EQ(std::vector<std::uint32_t>(fast.begin(), fast.end()),
              slow_philox(kRounds, {counter.begin(), counter.end()}, {key.begin(), key.end()}));
  }
}
TEST(Philox, SevenRoundsFollowTheDefinition) {
  expect_definition<7>();
}
TEST(Philox, TenRoundsFollowTheDefinition) {
  expect_definition<10>();
}

TEST(Philox, CounterAndKeyLayout) {
  EXPECT_EQ(philox_counter(0x0000000200000001, 0x0000000400000003), (PhiloxCounter{1, 2, 3, 4}));
  EXPECT_EQ(philox_key(0x0000000600000005), (PhiloxKey{5, 6}));
  static_assert(philox4x32<10>({0, 0, 0, 0}, {0, 0})[0] == 0x6627e8d5, "usable at compile time");
}

// The published sequence of splitmix64 from seed 1234567.
TEST(SplitMix, KnownAnswers) {
  const std::uint64_t expected[] = {6457827717110365317U, 3203168211198807973U,
                                    9817491932198370423U, 4593380528125082431U,
                                    16408922859458223821U};
  std::uint64_t state = 1234567;
  for (const std::uint64_t value : expected) {
    EXPECT_EQ(splitmix64(state), value);
    state += 0x9E3779B97F4A7C15;
  }
}

TEST(SplitMix, MixedSeedsDiffer) {
  std::set<std::uint64_t> seen;
  for (std::uint64_t a = 0; a < 100; ++a) {
    for (std::uint64_t b = 0; b < 100; ++b) seen.insert(mix_seeds(a, b));
  }
  EXPECT_EQ(seen.size(), 10000U);
  EXPECT_NE(mix_seeds(1, 2), mix_seeds(2, 1));
}

// Test vectors of the FNV authors.
TEST(HashName, KnownAnswers) {
  EXPECT_EQ(hash_name(""), 0xcbf29ce484222325U);
  EXPECT_EQ(hash_name("a"), 0xaf63dc4c8601ec8cU);
  EXPECT_EQ(hash_name("foobar"), 0x85944171f73967e8U);
  EXPECT_NE(hash_name("layer.1.weight"), hash_name("layer.2.weight"));
}

TEST(Uniform, StaysInsideAndIsEven) {
  EXPECT_EQ(to_uniform(0), 0.0);
  EXPECT_LT(to_uniform(~0ULL), 1.0);
  EXPECT_EQ(to_uniform(1ULL << 63), 0.5);
  std::vector<int> bins(20, 0);
  double sum = 0;
  constexpr int kDraws = 200000;
  for (std::uint64_t i = 0; i < kDraws; ++i) {
    const double u = uniform(7, 11, i);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    ++bins[static_cast<std::size_t>(u * 20)];
    sum += u;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.003);                            // 4.6 sigma
  for (const int bin : bins) EXPECT_NEAR(bin, kDraws / 20.0, 500);  // 5 sigma
}

TEST(Uniform, BelowCoversAllValues) {
  std::vector<int> counts(7, 0);
  for (std::uint64_t i = 0; i < 70000; ++i) ++counts.at(uniform_below(7, 3, 5, i));
  for (const int count : counts) EXPECT_NEAR(count, 10000, 500);
  for (std::uint64_t i = 0; i < 100; ++i) EXPECT_EQ(uniform_below(1, 3, 5, i), 0U);
}

TEST(Uniform, StreamsAndSeedsAreSeparate) {
  EXPECT_NE(random_bits(1, 2, 3), random_bits(2, 2, 3));
  EXPECT_NE(random_bits(1, 2, 3), random_bits(1, 3, 3));
  EXPECT_NE(random_bits(1, 2, 2), random_bits(1, 2, 3));
  EXPECT_EQ(random_bits(1, 2, 3), random_bits(1, 2, 3));
}

double relative_error(double value, double oracle) {
  return oracle == 0 ? std::abs(value) : std::abs(value / oracle - 1);
}

TEST(ExactLog, AgreesWithTheStandardLibrary) {
  EXPECT_EQ(exact_log(1.0), 0.0);
  double worst = 0;
  for (std::uint64_t i = 0; i < 1000000; ++i) {
    const double u = 1.0 - to_uniform(splitmix64(i));
    worst = std::max(worst, relative_error(exact_log(u), std::log(u)));
  }
  for (int exponent = -1000; exponent <= 1000; ++exponent) {
    for (const double m : {1.0, 1.0000000000000002, 1.2, 1.4142135623730949, 1.4142135623730951,
                           1.4142135623730954, 1.7, 1.9999999999999998}) {
      const double x = std::ldexp(m, exponent);
      worst = std::max(worst, relative_error(exact_log(x), std::log(x)));
    }
  }
  EXPECT_LT(worst, 1e-15);
}

TEST(ExactCosSin, AgreesWithTheStandardLibrary) {
  double worst = 0;
  const auto check = [&worst](double turns) {
    const CosSin value = exact_cos_sin_turns(turns);
    const long double angle = 6.283185307179586476925286766559L * turns;
    worst = std::max<double>(worst, std::abs(value.cos - std::cos(angle)));
    worst = std::max<double>(worst, std::abs(value.sin - std::sin(angle)));
  };
  for (std::uint64_t i = 0; i < 1000000; ++i) check(to_uniform(splitmix64(i)));
  for (int i = 0; i < 4096; ++i) check(i / 4096.0);
  for (int i = 0; i < 16; ++i) {  // both sides of the points where the quarter changes
    check(std::nextafter(i / 16.0, 2.0));
    if (i > 0) check(std::nextafter(i / 16.0, 0.0));
  }
  check(std::nextafter(1.0, 0.0));
  EXPECT_LT(worst, 4e-16);
}

TEST(ExactCosSin, QuarterTurnsAreExact) {
  EXPECT_EQ(exact_cos_sin_turns(0).cos, 1.0);
  EXPECT_EQ(exact_cos_sin_turns(0).sin, 0.0);
  EXPECT_EQ(exact_cos_sin_turns(0.25).cos, 0.0);
  EXPECT_EQ(exact_cos_sin_turns(0.25).sin, 1.0);
  EXPECT_EQ(exact_cos_sin_turns(0.5).cos, -1.0);
  EXPECT_EQ(exact_cos_sin_turns(0.75).sin, -1.0);
}

// Box-Muller with the standard library, from the words of Philox.
double oracle_normal(std::uint64_t seed, std::uint64_t name, std::uint64_t index) {
  const PhiloxCounter r = philox4x32<10>(philox_counter(index / 2, name), philox_key(seed));
  const double u =
      1.0 - std::ldexp(static_cast<double>(((std::uint64_t{r[1]} << 32) | r[0]) >> 11), -53);
  const double v = std::ldexp(static_cast<double>(((std::uint64_t{r[3]} << 32) | r[2]) >> 11), -53);
  const double radius = std::sqrt(-2 * std::log(u));
  const double angle = 2 * 3.14159265358979323846 * v;
  return radius * (index % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

TEST(Normal, AgreesWithTheStandardLibrary) {
  const std::uint64_t name = hash_name("encoder.layer.0.attention.self.query.weight");
  for (std::uint64_t i = 0; i < 200000; ++i) {
    ASSERT_NEAR(normal(42, name, i), oracle_normal(42, name, i), 1e-12) << i;
  }
}

TEST(Normal, HasTheMomentsOfTheStandardNormal) {
  constexpr int kDraws = 1000000;
  double sums[5] = {};
  int tail = 0;
  double neighbours = 0;
  double before = 0;
  for (std::uint64_t i = 0; i < kDraws; ++i) {
    const double x = normal(1, hash_name("w"), i);
    double power = 1;
    for (double& sum : sums) sum += power, power *= x;
    if (std::abs(x) > 3) ++tail;
    neighbours += x * before;
    before = x;
  }
  EXPECT_NEAR(sums[1] / kDraws, 0, 0.005);
  EXPECT_NEAR(sums[2] / kDraws, 1, 0.007);
  EXPECT_NEAR(sums[3] / kDraws, 0, 0.02);
  EXPECT_NEAR(sums[4] / kDraws, 3, 0.05);
  EXPECT_NEAR(tail, 2700, 260);  // P(|x| > 3) = 0.0027
  EXPECT_NEAR(neighbours / kDraws, 0, 0.005);
}

// Weights of runs and checkpoints stand on these bits: they must never change, on any machine. Made
// by the same formulas in Python (golden/random_values.py), whose floats are IEEE doubles without
// contraction.
TEST(Normal, GoldenBits) {
  const std::uint64_t name = hash_name("embeddings.word_embeddings.weight");
  const std::pair<std::uint64_t, std::uint64_t> expected[] = {
      {0, 0xbfc1dc2b82d953c2},        {1, 0x3fe0cd6e220938c5},
      {2, 0xbfcbcfa45e6f1659},        {3, 0x3f92fa13c613c6c8},
      {1000, 0x3ffd4c26b595d0d9},     {1001, 0x3feb278bc3eb337d},
      {23440895, 0x3ffdab1ccb258460}, {1099511627777, 0x3fdd581de10578db}};
  for (const auto& [index, bits] : expected) {
    EXPECT_EQ(std::bit_cast<std::uint64_t>(normal(2026, name, index)), bits)
        << index << " " << std::hex << std::bit_cast<std::uint64_t>(normal(2026, name, index));
  }
}

// One hash over many values, so that no single bit can differ unseen.
TEST(Normal, GoldenHashOfAMillionFloats) {
  std::vector<float> values(1 << 20);
  fill_normal(values, 0.02, 1, hash_name("x"), 0);
  EXPECT_EQ(
      hash_name({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)}),
      0x56057b8c9bba119cU);
}

TEST(FillNormal, IsNormalAtEveryOffsetAndLength) {
  const std::uint64_t name = hash_name("bias");
  for (std::uint64_t first = 0; first < 6; ++first) {
    for (std::size_t length = 0; length < 9; ++length) {
      std::vector<float> out(length, -99.0F);
      fill_normal(out, 0.5, 3, name, first + 1000000000000);
      for (std::size_t i = 0; i < length; ++i) {
        ASSERT_EQ(out[i], static_cast<float>(0.5 * normal(3, name, first + 1000000000000 + i)));
      }
    }
  }
}

}  // namespace
}  // namespace trireme
