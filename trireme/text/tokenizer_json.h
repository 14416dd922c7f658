// Pieces of the reader of tokenizer.json. Internal to text/.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/base/json.h"
#include "trireme/text/tokenizer_parts.h"

namespace trireme::text {

// {"token": id, ...}; ids from 0 on, each once.
std::vector<VocabEntry> vocab_from_json(const Json& vocab, const std::string& where);
// "a b".
std::pair<std::string, std::string> merge_of_line(std::string_view line, const std::string& where);

// Reads normalizer, pre_tokenizer, post_processor and decoder; model, vocab and added tokens must
// be there already.
void read_components(const Json& file, TokenizerParts& parts);

// "WHERE: type 'X' is not supported; supported: A, B".
Error unsupported(const std::string& where, const std::string& type, std::string_view supported);

}  // namespace trireme::text
