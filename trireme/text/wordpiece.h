// WordPiece: a word is cut into the longest pieces that the vocabulary has, from left to right (Wu
// et al., "Google's Neural Machine Translation System", 2016, section 4.1; Devlin et al., 2018).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "trireme/text/encoding.h"
#include "trireme/text/sourced_text.h"
#include "trireme/text/token_table.h"

namespace trireme::text {

// A vocabulary as it is read: tokens and their ids, in the file's order.
using VocabEntry = std::pair<std::string, std::int32_t>;

struct WordPieceOptions {
  std::string unk_token = "[UNK]";
  std::string continuing_subword_prefix = "##";
  std::size_t max_input_chars_per_word = 100;  // code points; longer words are unknown
};

class WordPiece {
 public:
  // Throws input_error(where, ...) when the unknown token is not in the vocabulary.
  WordPiece(std::span<const VocabEntry> vocab, const WordPieceOptions& options,
            const std::string& where);

  // Adds the ids and offsets of one word (not empty). A word that cannot be cut up is one unknown
  // token.
  void encode(SourcedView word, Encoding& out) const;
  std::int32_t unk_id() const { return unk_id_; }

 private:
  TokenTable whole_;       // at the start of a word
  TokenTable continuing_;  // after the start, without the prefix
  std::size_t max_chars_;
  std::int32_t unk_id_;
};

}  // namespace trireme::text
