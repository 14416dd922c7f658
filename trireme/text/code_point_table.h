// A value for every code point, in two stages: blocks of 256 code points, equal blocks stored once.
// Lookup is two loads; the tables of this folder take 30 to 300 KB.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

namespace trireme::text {

template <class T>
class CodePointTable {
 public:
  // value(c) is called for every code point where neighbours can differ; the planes without
  // characters (4 to 13) and the private ones take one value a block.
  template <class F>
  explicit CodePointTable(const F& value) {
    std::map<std::array<T, kBlock>, std::uint16_t> known;
    for (std::uint32_t block = 0; block < kBlocks; ++block) {
      const char32_t first = block * kBlock;
      std::array<T, kBlock> values;
      const bool ends_plane = (first & 0xFF00) == 0xFF00;  // holds two noncharacters
      if (!ends_plane && ((first >= 0x40000 && first < 0xE0000) || first >= 0xF0000)) {
        values.fill(value(first));
      } else {
        for (std::uint32_t i = 0; i < kBlock; ++i) values[i] = value(first + i);
      }
      const auto [at, fresh] =
          known.try_emplace(values, static_cast<std::uint16_t>(values_.size() / kBlock));
      if (fresh) values_.insert(values_.end(), values.begin(), values.end());
      block_[block] = at->second;
    }
  }

  T operator[](char32_t c) const { return values_[block_[c / kBlock] * kBlock + c % kBlock]; }

 private:
  static constexpr std::uint32_t kBlock = 256;
  static constexpr std::uint32_t kBlocks = 0x110000 / kBlock;
  std::array<std::uint16_t, kBlocks> block_;
  std::vector<T> values_;
};

struct SizedCodePoint {
  char32_t code_point;
  std::uint32_t bytes;
};

// The code point at p, in UTF-8 known to be well-formed.
inline SizedCodePoint decode_valid_utf8(const char* p) {
  const auto byte = [p](int i) { return static_cast<char32_t>(static_cast<unsigned char>(p[i])); };
  const char32_t first = byte(0);
  if (first < 0x80) return {first, 1};
  if (first < 0xE0) return {(first & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (first < 0xF0) return {(first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F),
          4};
}

inline bool is_continuation_byte(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

}  // namespace trireme::text
