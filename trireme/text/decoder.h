// Tokens back to text (the `decoder` of a tokenizer.json).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <variant>

namespace trireme::text {

struct JoinDecoder {};       // blanks between the tokens
struct ByteLevelDecoder {};  // the byte alphabet read back; bytes that are not UTF-8 give U+FFFD
struct WordPieceDecoder {    // blanks between words
  std::string prefix = "##";
  bool cleanup = true;  // no blank before punctuation and English contractions
};
using Decoder = std::variant<JoinDecoder, ByteLevelDecoder, WordPieceDecoder>;

std::string decode_tokens(const Decoder& decoder, std::span<const std::string_view> tokens);

}  // namespace trireme::text
