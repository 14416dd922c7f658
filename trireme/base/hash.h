// The hash that tells contents apart: XXH3, 64 bits (xxhash.com). Not against malice.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace trireme {

// Of bytes that come in pieces: the same as of all of them at once.
class Xxh3 {
 public:
  Xxh3();
  ~Xxh3();
  void add(std::span<const std::byte> bytes);
  // 16 hex digits, of what was added so far.
  std::string hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string xxh3_hex(std::span<const std::byte> bytes);

}  // namespace trireme
