// Counter-based random numbers: every draw is a pure function of what it is for, so there is no
// generator state to save, and no layout, rank or order of work can change a draw. Everything here
// gives the same bits on every machine with IEEE doubles: nothing calls libm, and the file is
// compiled without fused multiply-add.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace trireme {

using PhiloxCounter = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

// Philox4x32 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC
// 2011): four 32-bit words from a 128-bit counter and a 64-bit key. 10 rounds is the paper's safe
// choice, 7 the fewest that pass BigCrush.
template <int kRounds = 10>
constexpr PhiloxCounter philox4x32(PhiloxCounter c, PhiloxKey key) {
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t even = std::uint64_t{0xD2511F53} * c[0];
    const std::uint64_t odd = std::uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<std::uint32_t>(odd >> 32) ^ c[1] ^ key[0], static_cast<std::uint32_t>(odd),
         static_cast<std::uint32_t>(even >> 32) ^ c[3] ^ key[1], static_cast<std::uint32_t>(even)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return c;
}

constexpr PhiloxKey philox_key(std::uint64_t key) {
  return {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)};
}
constexpr PhiloxCounter philox_counter(std::uint64_t low, std::uint64_t high) {
  return {static_cast<std::uint32_t>(low), static_cast<std::uint32_t>(low >> 32),
          static_cast<std::uint32_t>(high), static_cast<std::uint32_t>(high >> 32)};
}

// The n-th output is splitmix64(seed + n * 0x9E3779B97F4A7C15) (Steele, Lea, Flood, OOPSLA 2014). A
// good mixer of 64-bit numbers too: a bijection in which every input bit reaches every output bit.
constexpr std::uint64_t splitmix64(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// One 64-bit seed from two; the order matters.
constexpr std::uint64_t mix_seeds(std::uint64_t a, std::uint64_t b) {
  return splitmix64(splitmix64(a) ^ b);
}

// FNV-1a, 64 bits: the hash of names (parameters, sites). Stable for ever: initial values depend on
// it.
constexpr std::uint64_t hash_name(std::string_view name) {
  std::uint64_t hash = 0xCBF29CE484222325;
  for (const char c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  }
  return hash;
}

// [0, 1), a multiple of 2^-53.
constexpr double to_uniform(std::uint64_t bits) {
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

// Draw number `index` of the stream (seed, stream): 64 random bits, a number in [0, 1), or an
// integer below n (n >= 1; bias below n / 2^64).
std::uint64_t random_bits(std::uint64_t seed, std::uint64_t stream, std::uint64_t index);
double uniform(std::uint64_t seed, std::uint64_t stream, std::uint64_t index);
std::uint64_t uniform_below(std::uint64_t n, std::uint64_t seed, std::uint64_t stream,
                            std::uint64_t index);

// Standard normal number `index` of the stream (seed, name_hash): Box-Muller over Philox4x32-10
// with key = seed and counter = (index / 2, name_hash); the even index takes the cosine, the odd
// one the sine. Largest |value|: 8.58.
double normal(std::uint64_t seed, std::uint64_t name_hash, std::uint64_t index);

// out[i] = float(scale * normal(seed, name_hash, first + i)), at twice the speed.
void fill_normal(std::span<float> out, double scale, std::uint64_t seed, std::uint64_t name_hash,
                 std::uint64_t first);

// The arithmetic behind normal(), to about 1e-15 relative: plain double operations in a fixed
// order.
double exact_log(double x);  // x positive, finite and normal
struct CosSin {
  double cos;
  double sin;
};
CosSin exact_cos_sin_turns(double turns);  // of 2 pi turns; turns in [0, 1)

}  // namespace trireme
