// A tokenizer as its files describe it; what the readers of the formats make and Tokenizer is built
// from. Internal to text/.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "trireme/base/json.h"
#include "trireme/text/added_tokens.h"
#include "trireme/text/bpe.h"
#include "trireme/text/decoder.h"
#include "trireme/text/normalizer.h"
#include "trireme/text/post_processor.h"
#include "trireme/text/tokenizer.h"
#include "trireme/text/wordpiece.h"

namespace trireme::text {

struct ByteLevelOptions {
  bool add_prefix_space = false;  // a blank before a text that begins with none
  bool use_regex = true;          // GPT-2's pattern; else one piece
};

struct WordPieceParts {
  WordPieceOptions options;
};
struct BpeParts {
  BpeOptions options;
  ByteLevelOptions byte_level;
};

// Names of special tokens by role: "cls_token" -> "[CLS]".
using SpecialNames = std::map<std::string, std::string, std::less<>>;

struct TokenizerParts {
  std::string where;  // opens error messages
  std::vector<VocabEntry> vocab;
  std::variant<WordPieceParts, BpeParts> model;
  Normalizer normalizer;
  std::vector<AddedToken> added;  // ids set by assign_added_ids
  PostProcessor post_processor;
  Decoder decoder;
  SpecialNames special_names;
};

// Gives each added token the id of the vocabulary's token of that name, or the next free one from
// the number of the vocabulary's tokens on, as `tokenizers` does; drops those without content.
void assign_added_ids(TokenizerParts& parts);

// `post_processor` may name tokens of the vocabulary or added ones.
TokenizerParts parts_from_json(std::string_view text, const std::string& where);
// The folder must hold vocab.txt, or vocab.json and merges.txt; `config` is its
// tokenizer_config.json or an empty object.
TokenizerParts parts_from_vocab_txt(const std::string& folder, const Json& config,
                                    const std::string& config_where);
TokenizerParts parts_from_merges(const std::string& folder, const Json& config,
                                 const std::string& config_where);

// The names that a tokenizer_config.json gives.
SpecialNames special_names_of(const Json& config, const std::string& where);

class TokenizerBuilder {
 public:
  static Tokenizer build(TokenizerParts parts);
};

}  // namespace trireme::text
