// How a normalised text is cut into the words that a model sees (the `pre_tokenizer` of a
// tokenizer.json). All splitters of a kind share one table, made with the first.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "trireme/text/code_point_table.h"

namespace trireme::text {

// A range of bytes.
struct Span {
  std::size_t begin;
  std::size_t end;
};

// BERT: words between white space; each punctuation mark a word.
class BertSplitter {
 public:
  BertSplitter();
  // The first word at or after byte `at` of a well-formed text; empty at the end.
  Span next(std::string_view text, std::size_t at) const;

 private:
  enum class Kind : std::uint8_t { kLetter, kSpace, kPunctuation };
  static const CodePointTable<Kind>& kinds();
  struct Sized {
    Kind kind;
    std::uint32_t bytes;
  };
  Sized kind_at(std::string_view text, std::size_t at) const;
  const CodePointTable<Kind>& table_;
  std::array<Kind, 128> ascii_;
};

// GPT-2 (Radford et al., 2019; the pattern is in its published encoder):
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
class Gpt2Splitter {
 public:
  Gpt2Splitter();
  // End of the piece that begins at byte `at` < text.size(); the pieces cover the text.
  std::size_t piece_end(std::string_view text, std::size_t at) const;

 private:
  enum class Kind : std::uint8_t { kOther, kLetter, kNumber, kSpace };
  static const CodePointTable<Kind>& kinds();
  struct Sized {
    Kind kind;
    std::uint32_t bytes;
  };
  Sized kind_at(std::string_view text, std::size_t at) const;
  // End of the run of that kind that goes on at `at`.
  std::size_t run_end(std::string_view text, std::size_t at, Kind kind) const;
  const CodePointTable<Kind>& table_;
  std::array<Kind, 128> ascii_;
};

}  // namespace trireme::text
