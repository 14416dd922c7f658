// A text under normalisation: what it says now, and where each part came from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::text {

// A view of normalised UTF-8; source[i] is the code point (of the text given) that byte i is from.
struct SourcedView {
  std::string_view bytes;
  const std::uint32_t* source;

  SourcedView part(std::size_t begin, std::size_t end) const {
    return {bytes.substr(begin, end - begin), source + begin};
  }
};

// Owns what a SourcedView shows.
struct SourcedText {
  std::string bytes;
  std::vector<std::uint32_t> source;

  SourcedView view() const { return {bytes, source.data()}; }
};

// The same by code points, for the steps that are easier so.
struct SourcedChar {
  char32_t c;
  std::uint32_t source;
};
using SourcedChars = std::vector<SourcedChar>;

// A well-formed text whose first character is code point number `first`.
void to_sourced(std::string_view text, std::uint32_t first, SourcedText& out);
SourcedChars to_sourced_chars(std::string_view text, std::uint32_t first);
SourcedText from_chars(const SourcedChars& chars);

// Each character to its full lower case.
void lower(SourcedChars& chars);

}  // namespace trireme::text
