// What a tokenizer makes of a text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace trireme::text {

// A range of code points of the text given, end exclusive.
struct Offset {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
  friend bool operator==(const Offset&, const Offset&) = default;
};

// One entry a token in each vector. Tokens that a post-processor added ([CLS], [SEP]) have the
// offset {0, 0} and special_mask 1; in a pair, offsets count in the text that the token is from
// (type_ids tell the two apart).
struct Encoding {
  std::vector<std::int32_t> ids;
  std::vector<Offset> offsets;
  std::vector<std::uint8_t> type_ids;
  std::vector<std::uint8_t> special_mask;

  std::size_t size() const { return ids.size(); }
};

}  // namespace trireme::text
