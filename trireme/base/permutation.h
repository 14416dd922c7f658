// A shuffled order with random access: which sample comes i-th, without a table.
//
//   const Permutation order(samples, mix_seeds(seed, epoch));
//   for (std::uint64_t i = 0; i < samples; ++i) use(order(i));
#pragma once

#include <array>
#include <cstdint>

namespace trireme {

// A bijection of 0..n-1 chosen by the seed: a Feistel network over the smallest power of two >= n,
// walked until the result is below n (cycle walking, Black and Rogaway, CT-RSA 2002). O(1) expected
// time (under two walks), no memory; the same on every machine. n <= 2^63.
class Permutation {
 public:
  Permutation(std::uint64_t n, std::uint64_t seed);

  std::uint64_t size() const { return n_; }
  // What stands at place i < size().
  std::uint64_t operator()(std::uint64_t i) const;
  // The place of a value < size(): place_of((*this)(i)) == i.
  std::uint64_t place_of(std::uint64_t value) const;

 private:
  static constexpr int kRounds = 8;
  std::uint64_t forward(std::uint64_t x) const;
  std::uint64_t backward(std::uint64_t x) const;

  std::uint64_t n_;
  int low_bits_;  // the halves may differ by one bit
  std::uint64_t low_mask_;
  std::uint64_t high_mask_;
  std::array<std::uint64_t, kRounds> keys_;
};

}  // namespace trireme
