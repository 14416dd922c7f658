// Tokens that are looked for in the text itself, before the model sees it: [MASK], <|endoftext|>.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trireme/text/token_table.h"

namespace trireme::text {

struct AddedToken {
  std::string content;
  std::int32_t id = 0;
  bool single_word = false;  // not where a letter or digit touches it
  bool lstrip = false;       // takes the white space on its left
  bool rstrip = false;       // takes the white space on its right
  bool normalized =
      false;             // looked for, normalised, in the normalised text; else in the text given
  bool special = false;  // left out when decoding with skip_special
};

// A part of a text: bytes, and the index of the added token that it is, or -1.
struct Segment {
  std::size_t begin;
  std::size_t end;
  std::int32_t token;
};

// Finds patterns: the leftmost, and the longest of those that begin there.
class AddedTokenMatcher {
 public:
  // `token` is the index in the list given to split(). A pattern added before stays as it was.
  void add(const std::string& pattern, std::int32_t token);
  bool empty() const { return patterns_.empty(); }

  // Cuts a well-formed text into segments; those of no token may not be empty. A text without
  // tokens, the empty one too, is one segment.
  std::vector<Segment> split(std::string_view text, const std::vector<AddedToken>& tokens) const;

 private:
  struct Match {
    std::size_t begin;
    std::size_t end;
    std::int32_t token;  // -1: none
  };
  Match next(std::string_view text, std::size_t at) const;

  TokenTable patterns_;
  std::array<std::vector<std::size_t>, 256> lengths_;  // by first byte, longest first
};

}  // namespace trireme::text
