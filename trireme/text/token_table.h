// Tokens by their bytes: open addressing over one flat buffer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::text {

class TokenTable {
 public:
  // The id of a token added again is replaced.
  void set(std::string_view token, std::int32_t id);
  // -1 when absent.
  std::int32_t find(std::string_view token) const;

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::size_t longest_bytes() const { return longest_bytes_; }

 private:
  struct Slot {
    std::uint32_t tag = 0;  // of the hash; with an id of -1 the slot is free
    std::int32_t id = -1;
    std::uint32_t offset = 0;  // in bytes_
    std::uint32_t length = 0;
  };
  // Where the token is, or the free slot where it would go.
  std::size_t slot_of(std::string_view token, std::uint64_t hash) const;
  void grow();

  std::vector<Slot> slots_;  // a power of two, at most half full
  std::string bytes_;
  std::size_t size_ = 0;
  std::size_t longest_bytes_ = 0;
};

}  // namespace trireme::text
