#include "trireme/data/inspect_tokens.h"

#include <algorithm>
#include <cstdio>

#include "trireme/base/error.h"
#include "trireme/data/token_shards.h"

namespace trireme::data {
namespace {

constexpr int64_t kHeadTokens = 64;

const char* name_of(TokenType type) {
  switch (type) {
    case TokenType::kUint8:
      return "uint8";
    case TokenType::kInt16:
      return "int16";
    case TokenType::kInt32:
      return "int32";
    case TokenType::kInt64:
      return "int64";
    case TokenType::kUint16:
      return "uint16";
  }
  return "?";
}

std::vector<int32_t> document_lengths(const TokenShard& shard) {
  const std::vector<int64_t>& documents = shard.index().documents;
  std::vector<int32_t> lengths;
  for (size_t d = 0; d + 1 < documents.size(); ++d) {
    int64_t length = 0;
    for (int64_t s = documents[d]; s < documents[d + 1]; ++s) length += shard.length(s);
    lengths.push_back(static_cast<int32_t>(std::min<int64_t>(length, INT32_MAX)));
  }
  return lengths;
}

}  // namespace

TokenStatistics inspect_tokens(const std::string& prefix, const text::Tokenizer* tokenizer) {
  const TokenShard shard(prefix);
  TokenStatistics out;
  out.prefix = prefix;
  out.token_type = name_of(shard.index().type);
  out.documents = shard.documents();
  out.tokens = shard.tokens();
  out.document_tokens = spread_of(document_lengths(shard));
  for (int64_t s = 0; s < shard.sequences() && out.head.empty(); ++s) {
    out.head.resize(static_cast<size_t>(std::min<int64_t>(shard.length(s), kHeadTokens)));
    shard.read(s, 0, out.head);
  }
  if (tokenizer != nullptr) {
    std::vector<int32_t> ids;
    for (const int64_t token : out.head) {
      if (token >= tokenizer->vocab_size()) {
        throw input_error(prefix, ".bin: holds token ", token, ", the tokenizer has ",
                          tokenizer->vocab_size());
      }
      ids.push_back(static_cast<int32_t>(token));
    }
    out.head_text = tokenizer->decode(ids, /*skip_special=*/false);
  }
  return out;
}

Json to_json(const TokenStatistics& statistics) {
  const LengthSpread& lengths = statistics.document_tokens;
  return {{"prefix", statistics.prefix},
          {"token_type", statistics.token_type},
          {"documents", statistics.documents},
          {"tokens", statistics.tokens},
          {"document_tokens",
           {{"least", lengths.least},
            {"mean", lengths.mean()},
            {"median", lengths.median},
            {"p95", lengths.p95},
            {"most", lengths.most}}},
          {"head", statistics.head},
          {"head_text", statistics.head_text}};
}

std::string to_table(const TokenStatistics& statistics) {
  const LengthSpread& lengths = statistics.document_tokens;
  char text[512];
  std::snprintf(text, sizeof(text),
                "%s\n%-24s %10lld\n%-24s %10lld  as %s\n\n%-24s %10s %10s %10s %10s %10s\n"
                "%-24s %10lld %10.1f %10lld %10lld %10lld\n\n",
                one_line(statistics.prefix).substr(0, 200).c_str(), "documents",
                static_cast<long long>(statistics.documents), "tokens",
                static_cast<long long>(statistics.tokens), statistics.token_type.c_str(), "lengths",
                "least", "mean", "median", "95 %", "most", "document, tokens",
                static_cast<long long>(lengths.least), lengths.mean(),
                static_cast<long long>(lengths.median), static_cast<long long>(lengths.p95),
                static_cast<long long>(lengths.most));
  std::string out = text;
  out += "begins with ";
  if (!statistics.head_text.empty()) return out + one_line(statistics.head_text) + "\n";
  out += "tokens";
  for (const int64_t token : statistics.head) out += " " + std::to_string(token);
  return out + "\n";
}

}  // namespace trireme::data
