#include "trireme/base/utf8.h"

namespace trireme {
namespace {

// What may follow a first byte (Unicode table 3-7): how many bytes, and the range of the second
// one; later ones are always 80..BF. length 1 = no well-formed sequence starts so.
struct Lead {
  std::uint8_t length;
  std::uint8_t second_low;
  std::uint8_t second_high;
};

constexpr Lead lead_of(unsigned char first) {
  if (first >= 0xC2 && first <= 0xDF) return {2, 0x80, 0xBF};
  if (first == 0xE0) return {3, 0xA0, 0xBF};  // below: overlong
  if (first == 0xED) return {3, 0x80, 0x9F};  // above: surrogates
  if (first >= 0xE1 && first <= 0xEF) return {3, 0x80, 0xBF};
  if (first == 0xF0) return {4, 0x90, 0xBF};  // below: overlong
  if (first >= 0xF1 && first <= 0xF3) return {4, 0x80, 0xBF};
  if (first == 0xF4) return {4, 0x80, 0x8F};  // above: beyond U+10FFFF
  return {1, 0, 0};
}

}  // namespace

Utf8Char detail::decode_utf8_multibyte(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[at + i]); };
  const std::size_t left = text.size() - at;
  const Lead lead = lead_of(byte(0));
  if (lead.length == 1) return {kReplacementChar, 1, false};
  if (left < 2 || byte(1) < lead.second_low || byte(1) > lead.second_high) {
    return {kReplacementChar, 1, false};
  }
  char32_t code_point = byte(0) & (0x7FU >> lead.length);
  code_point = (code_point << 6) | (byte(1) & 0x3FU);
  for (std::uint8_t i = 2; i < lead.length; ++i) {
    if (i >= left || (byte(i) & 0xC0U) != 0x80) return {kReplacementChar, i, false};
    code_point = (code_point << 6) | (byte(i) & 0x3FU);
  }
  return {code_point, lead.length, true};
}

std::u32string decode_utf8(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8_at(text, at);
    out.push_back(c.code_point);
    at += c.bytes;
  }
  return out;
}

std::size_t count_code_points(std::string_view text) {
  std::size_t count = 0;
  for (std::size_t at = 0; at < text.size(); ++count) at += decode_utf8_at(text, at).bytes;
  return count;
}

bool is_valid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Char c = decode_utf8_at(text, at);
    if (!c.valid) return false;
    at += c.bytes;
  }
  return true;
}

std::string clean_utf8(std::string_view text) {
  if (is_valid_utf8(text)) return std::string(text);
  return encode_utf8(decode_utf8(text));
}

void append_utf8(std::string& out, char32_t code_point) {
  const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
  const char32_t c = surrogate || code_point > 0x10FFFF ? kReplacementChar : code_point;
  const auto tail = [c](int shift) { return static_cast<char>(0x80U | ((c >> shift) & 0x3FU)); };
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xC0U | (c >> 6)));
    out.push_back(tail(0));
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xE0U | (c >> 12)));
    out.push_back(tail(6));
    out.push_back(tail(0));
  } else {
    out.push_back(static_cast<char>(0xF0U | (c >> 18)));
    out.push_back(tail(12));
    out.push_back(tail(6));
    out.push_back(tail(0));
  }
}

std::string encode_utf8(std::u32string_view code_points) {
  std::string out;
  out.reserve(code_points.size());
  for (const char32_t c : code_points) append_utf8(out, c);
  return out;
}

}  // namespace trireme
