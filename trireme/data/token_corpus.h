// The documents of a tokenised corpus: one or several token shards read as one, wholly or the part
// that a held-out split gives to training or to evaluation.
//
//   const TokenCorpus train({"corpus/books", "corpus/web"}, {.dev_share = 0.01, .seed = 1,
//                           .part = CorpusPart::kTrain}, vocab_size);
//   std::vector<int32_t> ids(static_cast<size_t>(train.length(7)));
//   train.read(7, 0, ids);
//
// A document is what the shards' index calls one (its sequences end to end); documents without
// tokens are left out.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "trireme/base/hash.h"
#include "trireme/data/token_shards.h"

namespace trireme::data {

enum class CorpusPart { kAll, kTrain, kDev };

// Which documents belong to the part: a document is held out when the draw of (seed, its number in
// its shard) falls below dev_share. So kTrain and kDev share none and leave none out, in whatever
// company a shard is read.
struct CorpusSplit {
  double dev_share = 0;
  uint64_t seed = 0;
  CorpusPart part = CorpusPart::kAll;
};

class TokenCorpus {
 public:
  // `prefixes` of PREFIX.bin and PREFIX.idx. Throws input_error: files that are not there (with the
  // command that makes them), or that do not fit together; a part without any token.
  TokenCorpus(const std::vector<std::string>& prefixes, const CorpusSplit& split,
              int64_t vocab_size);

  const std::string& name() const { return name_; }  // for messages
  int64_t documents() const { return static_cast<int64_t>(documents_.size()); }
  int64_t tokens() const { return tokens_; }
  int64_t length(int64_t document) const;

  // Tokens [begin, begin + out.size()) of a document, which must have them. Threads may read at
  // once. Throws input_error for a token outside the vocabulary.
  void read(int64_t document, int64_t begin, std::span<int32_t> out) const;

  // Adds what tells this corpus from another: the part's documents with their lengths, and tokens:
  // all of them up to 2^25, of a larger corpus the first 1,024 of 32,768 places spread evenly.
  void add_to(Xxh3& hash) const;

 private:
  struct Place {
    const TokenShard* shard;
    int64_t document;  // in the shard
  };
  Place place(int64_t document) const;

  std::string name_;
  int64_t vocab_size_;
  std::vector<std::unique_ptr<TokenShard>> shards_;
  std::vector<int64_t> shard_begin_;  // first document of each shard, counted through all of them
  std::vector<int64_t> documents_;    // of the part, by their number in the corpus, rising
  int64_t tokens_ = 0;
};

}  // namespace trireme::data
