#include "trireme/text/decoder.h"

#include <array>
#include <cstddef>
#include <optional>
#include <utility>

#include "trireme/base/utf8.h"
#include "trireme/text/byte_alphabet.h"

namespace trireme::text {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
}

void clean_up(std::string& token) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kChanges = {
      {{" .", "."},
       {" ?", "?"},
       {" !", "!"},
       {" ,", ","},
       {" ' ", "'"},
       {" n't", "n't"},
       {" 'm", "'m"},
       {" do not", " don't"},
       {" 's", "'s"},
       {" 've", "'ve"},
       {" 're", "'re"}}};
  for (const auto& [from, to] : kChanges) replace_all(token, from, to);
}

struct Decode {
  std::span<const std::string_view> tokens;

  std::string operator()(const JoinDecoder&) const {
    std::string text;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0) text += ' ';
      text += tokens[i];
    }
    return text;
  }

  std::string operator()(const ByteLevelDecoder&) const {
    std::string bytes;
    for (const std::string_view token : tokens) {
      const std::optional<std::string> raw = to_raw_bytes(token);
      bytes += raw ? std::string_view(*raw) : token;
    }
    return clean_utf8(bytes);
  }

  std::string operator()(const WordPieceDecoder& d) const {
    std::string text;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      std::string token(tokens[i]);
      if (i > 0) {
        if (token.starts_with(d.prefix)) {
          token.erase(0, d.prefix.size());
        } else {
          token.insert(0, 1, ' ');
        }
      }
      if (d.cleanup) clean_up(token);
      text += token;
    }
    return text;
  }
};

}  // namespace

std::string decode_tokens(const Decoder& decoder, std::span<const std::string_view> tokens) {
  return std::visit(Decode{tokens}, decoder);
}

}  // namespace trireme::text
