// BERT's text normalisation: controls out, all white space to blanks, CJK characters into words of
// their own, accents off, lower case.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "trireme/text/code_point_table.h"
#include "trireme/text/sourced_text.h"

namespace trireme::text {

struct BertNormalizerOptions {
  bool clean_text = true;                  // controls out, white space to blanks
  bool handle_chinese_chars = true;        // blanks around CJK characters
  std::optional<bool> strip_accents = {};  // canonical decomposition, nonspacing marks out;
                                           // unset: as lowercase
  bool lowercase = true;

  bool strips_accents() const { return strip_accents.value_or(lowercase); }
};

// The steps one by one.
void apply_bert_steps(const BertNormalizerOptions& options, SourcedChars& chars);

// Nearly every character has one outcome whatever stands beside it, so the steps are worked out
// once a character and kept in a table. The exception: marks that stay (spacing ones) take part in
// canonical reordering; a text with such a mark goes through the steps one by one.
class BertNormalizer {
 public:
  // There is one for each set of options, made when it is first asked for (50 ms) and kept.
  static const BertNormalizer& of(const BertNormalizerOptions& options);

  // A well-formed text whose first character is code point number `first`.
  void apply(std::string_view text, std::uint32_t first, SourcedText& out) const;

 private:
  explicit BertNormalizer(const BertNormalizerOptions& options);

  // What becomes of a code point: 0 = stays; kPadded = stays, with blanks around; kReorders = needs
  // the steps; else bytes of pool_, packed as (offset << 5 | length) + kFirstPacked.
  static constexpr std::uint32_t kPadded = 1;
  static constexpr std::uint32_t kReorders = 2;
  static constexpr std::uint32_t kFirstPacked = 3;
  std::uint32_t outcome(char32_t c);

  BertNormalizerOptions options_;
  std::string pool_;
  std::size_t most_growth_ = 1;  // bytes that one byte of a character beyond ASCII may become
  CodePointTable<std::uint32_t> table_;
  struct Ascii {
    char out;
    std::uint8_t kept;  // 1, or 0 for a character taken out
  };
  std::array<Ascii, 128> ascii_;
};

}  // namespace trireme::text
