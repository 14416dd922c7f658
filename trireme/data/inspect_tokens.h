// What is in a token shard, in numbers: for `trireme data inspect PREFIX`.
//
//   TokenStatistics statistics = inspect_tokens("corpus", &tokenizer);
//   std::cout << to_table(statistics);
#pragma once

#include <cstdint>
#include <string>

#include "trireme/base/json.h"
#include "trireme/data/inspect.h"
#include "trireme/text/tokenizer.h"

namespace trireme::data {

struct TokenStatistics {
  std::string prefix;
  std::string token_type;  // "uint16"
  int64_t documents = 0;
  int64_t tokens = 0;
  LengthSpread document_tokens;
  std::vector<int64_t> head;  // first tokens of the first document that has some
  std::string head_text;      // the same decoded; empty without a tokenizer
};

// Throws input_error for a shard that is not there or not whole. `tokenizer` may be null.
TokenStatistics inspect_tokens(const std::string& prefix, const text::Tokenizer* tokenizer);

Json to_json(const TokenStatistics& statistics);
std::string to_table(const TokenStatistics& statistics);

}  // namespace trireme::data
