// Compiled with -ffp-contract=off (CMakeLists.txt): a fused multiply-add rounds once where this
// rounds twice.
#include "trireme/base/random.h"

#include <bit>
#include <cmath>

namespace trireme {
namespace {

// log(2) in two parts: the high one has 20 trailing zero bits, so that exponent * kLog2High is
// exact.
constexpr double kLog2High = 0x1.62e42fefp-1;
constexpr double kLog2Low = 0x1.473de6af278edp-34;
constexpr double kSqrt2 = 0x1.6a09e667f3bcdp+0;
constexpr double kTwoPi = 0x1.921fb54442d18p+2;

struct NormalPair {
  double even;
  double odd;
};

NormalPair normal_pair(std::uint64_t seed, std::uint64_t name_hash, std::uint64_t pair) {
  const PhiloxCounter r = philox4x32<10>(philox_counter(pair, name_hash), philox_key(seed));
  const std::uint64_t a = r[0] | (std::uint64_t{r[1]} << 32);
  const std::uint64_t b = r[2] | (std::uint64_t{r[3]} << 32);
  const double u = 1.0 - to_uniform(a);  // (0, 1], exact: the logarithm of 0 is never asked for
  const double radius = std::sqrt(-2.0 * exact_log(u));
  const CosSin angle = exact_cos_sin_turns(to_uniform(b));
  return {radius * angle.cos, radius * angle.sin};
}

}  // namespace

double exact_log(double x) {
  const auto bits = std::bit_cast<std::uint64_t>(x);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000);  // [1, 2)
  if (m > kSqrt2) {
    m *= 0.5;
    ++exponent;
  }
  // log m = 2 atanh(s), s = (m - 1) / (m + 1), |s| <= 0.1716: the power series to s^23 leaves less
  // than 2^-60.
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  double series = 1.0 / 23.0;
  series = series * z + 1.0 / 21.0;
  series = series * z + 1.0 / 19.0;
  series = series * z + 1.0 / 17.0;
  series = series * z + 1.0 / 15.0;
  series = series * z + 1.0 / 13.0;
  series = series * z + 1.0 / 11.0;
  series = series * z + 1.0 / 9.0;
  series = series * z + 1.0 / 7.0;
  series = series * z + 1.0 / 5.0;
  series = series * z + 1.0 / 3.0;
  const double log_m = 2.0 * s + 2.0 * s * (z * series);
  return exponent * kLog2High + (exponent * kLog2Low + log_m);
}

CosSin exact_cos_sin_turns(double turns) {
  // The nearest quarter turn goes out exactly; the rest is at most an eighth of a turn.
  const int quarter = (static_cast<int>(turns * 8.0) + 1) / 2;
  const double a = (turns - quarter * 0.25) * kTwoPi;
  const double z = a * a;
  // Power series to a^18 and a^17; |a| <= pi/4 leaves less than 2^-58.
  double c = -1.0 / 6402373705728000.0;
  c = c * z + 1.0 / 20922789888000.0;
  c = c * z - 1.0 / 87178291200.0;
  c = c * z + 1.0 / 479001600.0;
  c = c * z - 1.0 / 3628800.0;
  c = c * z + 1.0 / 40320.0;
  c = c * z - 1.0 / 720.0;
  c = c * z + 1.0 / 24.0;
  c = c * z - 0.5;
  const double cos = c * z + 1.0;
  double s = 1.0 / 355687428096000.0;
  s = s * z - 1.0 / 1307674368000.0;
  s = s * z + 1.0 / 6227020800.0;
  s = s * z - 1.0 / 39916800.0;
  s = s * z + 1.0 / 362880.0;
  s = s * z - 1.0 / 5040.0;
  s = s * z + 1.0 / 120.0;
  s = s * z - 1.0 / 6.0;
  const double sin = a + a * (s * z);
  switch (quarter & 3) {
    case 0:
      return {cos, sin};
    case 1:
      return {-sin, cos};
    case 2:
      return {-cos, -sin};
    default:
      return {sin, -cos};
  }
}

std::uint64_t random_bits(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) {
  const PhiloxCounter r = philox4x32<10>(philox_counter(index / 2, stream), philox_key(seed));
  const std::size_t half = index % 2 == 0 ? 0 : 2;
  return r[half] | (std::uint64_t{r[half + 1]} << 32);
}

double uniform(std::uint64_t seed, std::uint64_t stream, std::uint64_t index) {
  return to_uniform(random_bits(seed, stream, index));
}

std::uint64_t uniform_below(std::uint64_t n, std::uint64_t seed, std::uint64_t stream,
                            std::uint64_t index) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<std::uint64_t>((Wide{random_bits(seed, stream, index)} * n) >> 64);
}

double normal(std::uint64_t seed, std::uint64_t name_hash, std::uint64_t index) {
  const NormalPair pair = normal_pair(seed, name_hash, index / 2);
  return index % 2 == 0 ? pair.even : pair.odd;
}

void fill_normal(std::span<float> out, double scale, std::uint64_t seed, std::uint64_t name_hash,
                 std::uint64_t first) {
  std::size_t i = 0;
  if (first % 2 == 1 && !out.empty()) {
    out[i++] = static_cast<float>(scale * normal(seed, name_hash, first));
  }
  for (; i + 1 < out.size(); i += 2) {
    const NormalPair pair = normal_pair(seed, name_hash, (first + i) / 2);
    out[i] = static_cast<float>(scale * pair.even);
    out[i + 1] = static_cast<float>(scale * pair.odd);
  }
  if (i < out.size()) out[i] = static_cast<float>(scale * normal(seed, name_hash, first + i));
}

}  // namespace trireme
