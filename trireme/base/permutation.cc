#include "trireme/base/permutation.h"

#include <algorithm>
#include <bit>

#include "trireme/base/error.h"
#include "trireme/base/random.h"

namespace trireme {

Permutation::Permutation(std::uint64_t n, std::uint64_t seed) : n_(n) {
  if (n > (std::uint64_t{1} << 63))
    throw input_error("a permutation of ", n, " items is too large");
  const int bits = std::max(2, n < 2 ? 0 : static_cast<int>(std::bit_width(n - 1)));
  low_bits_ = bits / 2;
  low_mask_ = (std::uint64_t{1} << low_bits_) - 1;
  high_mask_ = (std::uint64_t{1} << (bits - low_bits_)) - 1;
  for (int round = 0; round < kRounds; ++round) {
    keys_[round] = mix_seeds(seed, static_cast<std::uint64_t>(round));
  }
}

std::uint64_t Permutation::forward(std::uint64_t x) const {
  std::uint64_t low = x & low_mask_;
  std::uint64_t high = x >> low_bits_;
  for (int round = 0; round < kRounds; round += 2) {
    high ^= mix_seeds(keys_[round], low) & high_mask_;
    low ^= mix_seeds(keys_[round + 1], high) & low_mask_;
  }
  return (high << low_bits_) | low;
}

std::uint64_t Permutation::backward(std::uint64_t x) const {
  std::uint64_t low = x & low_mask_;
  std::uint64_t high = x >> low_bits_;
  for (int round = kRounds - 2; round >= 0; round -= 2) {
    low ^= mix_seeds(keys_[round + 1], high) & low_mask_;
    high ^= mix_seeds(keys_[round], low) & high_mask_;
  }
  return (high << low_bits_) | low;
}

std::uint64_t Permutation::operator()(std::uint64_t i) const {
  std::uint64_t x = forward(i);
  while (x >= n_) x = forward(x);
  return x;
}

std::uint64_t Permutation::place_of(std::uint64_t value) const {
  std::uint64_t x = backward(value);
  while (x >= n_) x = backward(x);
  return x;
}

}  // namespace trireme
