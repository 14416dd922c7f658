// What is put around the tokens of one text or two, and which white space offsets leave out (the
// `post_processor` of a tokenizer.json).
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "trireme/text/encoding.h"

namespace trireme::text {

// One part of a template: the tokens of a text, or special ones.
struct TemplatePiece {
  enum class Kind { kFirst, kSecond, kSpecial };
  Kind kind;
  std::vector<std::int32_t> ids;  // of kSpecial
  std::uint8_t type_id = 0;
};
using Template = std::vector<TemplatePiece>;

// Blanks at the ends of a token, as its text shows them.
struct TokenBlanks {
  std::uint32_t leading = 0;
  std::uint32_t trailing = 0;
};

// Leaves blanks at the ends of tokens out of the offsets, as the ByteLevel post-processor does.
struct OffsetTrim {
  bool add_prefix_space;  // one blank at the start of the text is taken for an added one and stays
  // `blanks` gives those of token i.
  void apply(std::vector<Offset>& offsets,
             const std::function<TokenBlanks(std::size_t i)>& blanks) const;
};

struct PostProcessor {
  std::vector<OffsetTrim> trims;  // of each text, before the template
  Template single = {{TemplatePiece::Kind::kFirst, {}, 0}};
  Template pair = {{TemplatePiece::Kind::kFirst, {}, 0}, {TemplatePiece::Kind::kSecond, {}, 1}};

  // Puts the texts (ids and offsets filled in) together; second may be null. Without specials the
  // template's special pieces are left out.
  Encoding apply(Encoding first, const Encoding* second, bool add_special) const;
};

}  // namespace trireme::text
