// UTF-8, read exactly as Python's bytes.decode("utf-8", "replace") reads it.
//
// Any bytes are legal input. Each maximal prefix of a well-formed sequence that goes wrong becomes
// one U+FFFD, and reading goes on at the byte that did not fit (Unicode 15, section 3.9, "U+FFFD
// Substitution of Maximal Subparts", well-formedness by table 3-7): "\xF0\x9F\x98" is one U+FFFD,
// "\xED\xA0\x80" three, "\xC0\xAF" two.
//
//   for (std::size_t at = 0; at < text.size();) {
//     const Utf8Char c = decode_utf8_at(text, at);
//     at += c.bytes;
//   }
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace trireme {

inline constexpr char32_t kReplacementChar = 0xFFFD;

struct Utf8Char {
  char32_t code_point;  // a Unicode scalar value; U+FFFD when the bytes are malformed
  std::uint8_t bytes;   // bytes used, 1 to 4
  bool valid;           // false for a replacement (a real U+FFFD in the text is valid)
};

namespace detail {
Utf8Char decode_utf8_multibyte(std::string_view text, std::size_t at);
}

// The character at byte `at` < text.size().
inline Utf8Char decode_utf8_at(std::string_view text, std::size_t at) {
  const auto first = static_cast<unsigned char>(text[at]);
  if (first < 0x80) return {first, 1, true};
  return detail::decode_utf8_multibyte(text, at);
}

// All code points, malformed parts replaced.
std::u32string decode_utf8(std::string_view text);

// The number of code points that decode_utf8 gives, without making them.
std::size_t count_code_points(std::string_view text);

// True when nothing would be replaced.
bool is_valid_utf8(std::string_view text);

// The text with malformed parts replaced by U+FFFD: always valid UTF-8.
std::string clean_utf8(std::string_view text);

// Adds one code point; a surrogate or a number above U+10FFFF is written as U+FFFD.
void append_utf8(std::string& out, char32_t code_point);

std::string encode_utf8(std::u32string_view code_points);

}  // namespace trireme
