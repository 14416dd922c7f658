// Cutting UTF-8 text by offsets in code points: files and tokenizers state offsets as indexes of
// Python strings, C++ strings are cut by bytes. The text must be valid UTF-8 (parsed JSON is).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace trireme::data {

// The byte at which code point `index` begins; text.size() at or behind the end.
inline size_t byte_of_code_point(std::string_view text, int64_t index) {
  size_t at = 0;
  for (; at < text.size(); ++at) {
    const bool begins = (static_cast<unsigned char>(text[at]) & 0xC0) != 0x80;
    if (begins && index-- == 0) break;
  }
  return at;
}

// Code points [begin, end) of the text, as Python's text[begin:end] for 0 <= begin <= end.
inline std::string_view cut_code_points(std::string_view text, int64_t begin, int64_t end) {
  const std::string_view tail = text.substr(byte_of_code_point(text, begin));
  return tail.substr(0, byte_of_code_point(tail, end - begin));
}

}  // namespace trireme::data
