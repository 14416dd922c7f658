// Text to token ids and back, with offsets: WordPiece (BERT) and byte-level BPE (GPT-2, RoBERTa).
// Ids and offsets are those of Hugging Face's `tokenizers` 0.23.
//
//   const Tokenizer tokenizer = Tokenizer::load("bert-base-uncased");
//   const Encoding e = tokenizer.encode("Who wrote it?");     // [CLS] who wrote it ? [SEP]
//   const Encoding qa = tokenizer.encode_pair(question, context, {.add_special = true});
//   std::string answer = tokenizer.decode(ids, /*skip_special=*/true);
//
// Texts are any bytes, read as Python's bytes.decode("utf-8", "replace") reads them; offsets count
// code points of that. Nothing is truncated or padded, whatever tokenizer.json asks for.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "trireme/text/encoding.h"

namespace trireme::text {

struct EncodeOptions {
  bool add_special = true;  // [CLS] and [SEP], or what the post-processor says
};

// Immutable and cheap to copy; all calls may come from many threads at once.
class Tokenizer {
 public:
  // A model folder: tokenizer.json, or vocab.json and merges.txt (GPT-2), or vocab.txt (BERT), the
  // first that is there; tokenizer_config.json is read for the names of the special tokens and,
  // with vocab.txt or vocab.json, for the options. input_error names the file, and the component
  // when it is one that is not supported.
  static Tokenizer load(const std::string& folder);
  // The text of a tokenizer.json; `where` opens the messages.
  static Tokenizer from_json(std::string_view text, const std::string& where);

  // Throws input_error for texts of 1 GiB and more.
  Encoding encode(std::string_view text, EncodeOptions options = {}) const;
  Encoding encode_pair(std::string_view first, std::string_view second,
                       EncodeOptions options = {}) const;

  // Ids that are not in the vocabulary are left out; so are special tokens with skip_special.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special) const;

  // One more than the largest id: the rows that an embedding needs.
  std::int64_t vocab_size() const;
  std::optional<std::int32_t> token_to_id(std::string_view token) const;
  // Empty for an id that is not in the vocabulary; lives as long as any copy of the tokenizer.
  std::string_view id_to_token(std::int32_t id) const;

  // As tokenizer_config.json names them, else by the usual names ("[CLS]", "<s>").
  std::optional<std::int32_t> cls_id() const;
  std::optional<std::int32_t> sep_id() const;
  std::optional<std::int32_t> pad_id() const;
  std::optional<std::int32_t> mask_id() const;
  std::optional<std::int32_t> unk_id() const;
  std::optional<std::int32_t> bos_id() const;
  std::optional<std::int32_t> eos_id() const;

 private:
  struct Impl;
  explicit Tokenizer(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  friend class TokenizerBuilder;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace trireme::text
