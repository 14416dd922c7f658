// GPT-2's alphabet: a printable character for each of the 256 bytes, so that a vocabulary of byte
// strings can be written as text. '!' to '~', U+00A1 to U+00AC and U+00AE to U+00FF stand for
// themselves; the 68 other bytes, in order, are U+0100 to U+0143 (a blank is U+0120, "Ġ").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trireme::text {

char32_t char_of_byte(std::uint8_t byte);
// -1 when the character stands for no byte.
int byte_of_char(char32_t c);

// The text written in the alphabet, as bytes; nothing when a character stands for no byte. The text
// must be well-formed UTF-8.
std::optional<std::string> to_raw_bytes(std::string_view text);

}  // namespace trireme::text
