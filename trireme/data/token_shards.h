// Tokenised corpora as Megatron-LM's indexed datasets: PREFIX.bin holds the tokens of all documents
// end to end, PREFIX.idx their type, lengths and places
// (megatron/core/datasets/indexed_dataset.py).
//
//   TokenShardWriter writer(prefix, vocab_size);
//   writer.add(ids);                       // a document; as often as there are documents
//   writer.commit();
//
//   const TokenShard shard(prefix);
//   std::vector<int64_t> ids(shard.length(7));
//   shard.read(7, 0, ids);
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trireme/base/files.h"

namespace trireme::data {

// The type of a token in the file; the values are the format's codes. (Its others, int8 and
// floating point, hold no tokens.)
enum class TokenType : uint8_t { kUint8 = 1, kInt16 = 3, kInt32 = 4, kInt64 = 5, kUint16 = 8 };
int64_t token_bytes(TokenType type);
// uint16 where the vocabulary fits, int32 otherwise, as Megatron-LM chooses.
TokenType token_type_for(int64_t vocab_size);
// Appends the tokens as PREFIX.bin holds them.
void append_tokens(TokenType type, std::span<const int32_t> tokens, std::string& bytes);

// PREFIX.idx.
struct TokenIndex {
  TokenType type = TokenType::kUint16;
  std::vector<int32_t> lengths;    // tokens of each sequence
  std::vector<int64_t> places;     // byte of PREFIX.bin where it begins
  std::vector<int64_t> documents;  // first sequence of each document, and the number of sequences
};
// Throws input_error, naming `path`, for anything that is not a whole index of a data file of
// `data_bytes`: so every token that it speaks of is there.
TokenIndex parse_token_index(std::string_view bytes, uint64_t data_bytes, const std::string& path);

// A mapped shard; threads may read it at once.
class TokenShard {
 public:
  // Throws input_error when a file cannot be read or the two do not fit together.
  explicit TokenShard(const std::string& prefix);

  int64_t sequences() const { return static_cast<int64_t>(index_.lengths.size()); }
  int64_t documents() const { return static_cast<int64_t>(index_.documents.size()) - 1; }
  int64_t tokens() const { return tokens_; }
  int32_t length(int64_t sequence) const { return index_.lengths[static_cast<size_t>(sequence)]; }
  const TokenIndex& index() const { return index_; }

  // Tokens [begin, begin + out.size()) of a sequence, which must have them. Throws input_error for
  // a negative token.
  void read(int64_t sequence, int64_t begin, std::span<int64_t> out) const;

 private:
  MappedFile data_;
  TokenIndex index_;
  int64_t tokens_ = 0;
};

// Writes PREFIX.idx of documents of one sequence each, end to end in the data: their lengths are
// all that there is to say. Streamed.
void write_token_index(AtomicFile& file, TokenType type, std::span<const int32_t> lengths);

// Writes both files, streamed; each document is one sequence. Without commit() files that were
// there stay; a crash within it may leave data without an index, which no reader takes.
class TokenShardWriter {
 public:
  TokenShardWriter(const std::string& prefix, int64_t vocab_size);

  // Throws input_error for a token outside the vocabulary or a document of 2^31 tokens or more.
  void add(std::span<const int32_t> document);
  void commit();

 private:
  int64_t vocab_size_;
  TokenType type_;
  std::vector<int32_t> lengths_;
  std::string prefix_;
  AtomicFile data_, index_file_;
  std::string buffer_;
};

}  // namespace trireme::data
