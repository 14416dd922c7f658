#include "trireme/text/byte_alphabet.h"

#include <array>

#include "trireme/text/code_point_table.h"

namespace trireme::text {
namespace {

constexpr std::size_t kChars = 0x144;

struct Alphabet {
  std::array<char32_t, 256> chars{};
  std::array<std::int16_t, kChars> bytes{};
};

constexpr Alphabet make_alphabet() {
  Alphabet a;
  a.bytes.fill(-1);
  char32_t next = 0x100;
  for (int b = 0; b < 256; ++b) {
    const bool itself = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xFF && b != 0xAD);
    const char32_t c = itself ? static_cast<char32_t>(b) : next++;
    a.chars[b] = c;
    a.bytes[c] = static_cast<std::int16_t>(b);
  }
  return a;
}

constexpr Alphabet kAlphabet = make_alphabet();

}  // namespace

char32_t char_of_byte(std::uint8_t byte) {
  return kAlphabet.chars[byte];
}

int byte_of_char(char32_t c) {
  return c < kChars ? kAlphabet.bytes[c] : -1;
}

std::optional<std::string> to_raw_bytes(std::string_view text) {
  std::string raw;
  raw.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const SizedCodePoint c = decode_valid_utf8(text.data() + at);
    const int byte = byte_of_char(c.code_point);
    if (byte < 0) return std::nullopt;
    raw += static_cast<char>(byte);
    at += c.bytes;
  }
  return raw;
}

}  // namespace trireme::text
