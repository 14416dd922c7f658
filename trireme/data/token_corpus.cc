#include "trireme/data/token_corpus.h"

#include <algorithm>
#include <array>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/random.h"

namespace trireme::data {
namespace {

constexpr int64_t kHashedWhole = int64_t{1} << 25;
constexpr int64_t kHashedPlaces = 32768, kHashedTokens = 1024;

void expect_shard(const std::string& prefix) {
  const std::string data = prefix + ".bin", index = prefix + ".idx";
  if (file_exists(data) && file_exists(index)) return;
  const bool is_text = file_exists(prefix);
  throw input_error(prefix, is_text ? ": is not tokenised yet" : ": there is no ",
                    is_text ? "" : (file_exists(data) ? index : data),
                    "; `trireme data prepare` makes PREFIX.bin and PREFIX.idx of text and JSONL");
}

bool in_part(const CorpusSplit& split, uint64_t document) {
  if (split.part == CorpusPart::kAll) return true;
  static const uint64_t stream = hash_name("data.split");
  const bool held_out = uniform(split.seed, stream, document) < split.dev_share;
  return held_out == (split.part == CorpusPart::kDev);
}

int64_t document_length(const TokenShard& shard, int64_t document) {
  const std::vector<int64_t>& documents = shard.index().documents;
  int64_t length = 0;
  for (int64_t s = documents[static_cast<size_t>(document)];
       s < documents[static_cast<size_t>(document) + 1]; ++s)
    length += shard.length(s);
  return length;
}

std::string joined(const std::vector<std::string>& prefixes) {
  std::string text;
  for (const std::string& prefix : prefixes) text += (text.empty() ? "" : ", ") + prefix;
  return text;
}

}  // namespace

TokenCorpus::TokenCorpus(const std::vector<std::string>& prefixes, const CorpusSplit& split,
                         int64_t vocab_size)
    : name_(joined(prefixes)), vocab_size_(vocab_size) {
  int64_t all = 0;
  for (const std::string& prefix : prefixes) {
    expect_shard(prefix);
    shards_.push_back(std::make_unique<TokenShard>(prefix));
    shard_begin_.push_back(all);
    const TokenShard& shard = *shards_.back();
    for (int64_t d = 0; d < shard.documents(); ++d, ++all) {
      const int64_t length = document_length(shard, d);
      if (length == 0 || !in_part(split, static_cast<uint64_t>(d))) continue;
      documents_.push_back(all);
      tokens_ += length;
    }
  }
  if (!documents_.empty()) return;
  if (split.part == CorpusPart::kAll) throw input_error(name_, ": holds no tokens");
  throw input_error(name_, ": of its ", all, all == 1 ? " document" : " documents",
                    ", none is left to ",
                    split.part == CorpusPart::kTrain ? "train on" : "evaluate on",
                    " by data.split = ", split.dev_share,
                    "; it takes whole documents: give data.dev a corpus of its own, or prepare "
                    "with more documents");
}

TokenCorpus::Place TokenCorpus::place(int64_t document) const {
  const int64_t number = documents_[static_cast<size_t>(document)];
  const auto next = std::upper_bound(shard_begin_.begin(), shard_begin_.end(), number);
  const auto shard = static_cast<size_t>(next - shard_begin_.begin()) - 1;
  return {shards_[shard].get(), number - shard_begin_[shard]};
}

int64_t TokenCorpus::length(int64_t document) const {
  const Place at = place(document);
  return document_length(*at.shard, at.document);
}

void TokenCorpus::read(int64_t document, int64_t begin, std::span<int32_t> out) const {
  const Place at = place(document);
  const std::vector<int64_t>& documents = at.shard->index().documents;
  std::vector<int64_t> wide;
  for (int64_t s = documents[static_cast<size_t>(at.document)]; !out.empty(); ++s) {
    if (s == documents[static_cast<size_t>(at.document) + 1])
      throw run_error(name_, ": document ", document, " ends before token ", begin);
    const int64_t length = at.shard->length(s);
    if (begin >= length) {
      begin -= length;
      continue;
    }
    wide.resize(std::min(out.size(), static_cast<size_t>(length - begin)));
    at.shard->read(s, begin, wide);
    for (size_t i = 0; i < wide.size(); ++i) {
      if (wide[i] >= vocab_size_) {
        throw input_error(name_, ": document ", document, " holds token ", wide[i],
                          ", the model has a vocabulary of ", vocab_size_,
                          "; was the corpus prepared with another tokenizer?");
      }
      out[i] = static_cast<int32_t>(wide[i]);
    }
    out = out.subspan(wide.size());
    begin = 0;
  }
}

void TokenCorpus::add_to(Xxh3& hash) const {
  std::vector<int32_t> ids;
  const auto add = [&hash](const auto& values) { hash.add(std::as_bytes(std::span(values))); };
  add(documents_);
  const int64_t every = tokens_ <= kHashedWhole ? 0 : tokens_ / kHashedPlaces;
  int64_t before = 0, next = 0;  // tokens in front of the document; the next place
  for (int64_t d = 0; d < documents(); ++d) {
    const int64_t length = this->length(d);
    add(std::array{length});
    if (every == 0) {
      ids.resize(static_cast<size_t>(length));
      read(d, 0, ids);
      add(ids);
    } else {
      for (; next < before + length; next += every) {
        const int64_t begin = next - before;
        ids.resize(static_cast<size_t>(std::min(kHashedTokens, length - begin)));
        read(d, begin, ids);
        add(ids);
      }
    }
    before += length;
  }
}

}  // namespace trireme::data
