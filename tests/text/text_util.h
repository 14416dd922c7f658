// What the tests of text/ share: tokenizer.json made by hand, and encodings that are easy to
// compare.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "tests/base/test_util.h"
#include "trireme/base/json.h"
#include "trireme/base/utf8.h"
#include "trireme/text/byte_alphabet.h"
#include "trireme/text/tokenizer.h"

namespace trireme::text {

// A vocabulary numbered from 0.
inline std::vector<std::pair<std::string, std::int32_t>> numbered(
    std::initializer_list<std::string_view> tokens) {
  std::vector<std::pair<std::string, std::int32_t>> vocab;
  for (const std::string_view token : tokens) {
    vocab.emplace_back(token, static_cast<std::int32_t>(vocab.size()));
  }
  return vocab;
}

// BERT's tokenizer with the ids [UNK] 0, [CLS] 1, [SEP] 2, and so on.
inline Json bert_json() {
  return parse_json(R"({
    "version": "1.0",
    "added_tokens": [],
    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                   "strip_accents": null, "lowercase": true},
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                 {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
      "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
               {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}},
               {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
      "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]},
                         "[SEP]": {"id": "[SEP]", "ids": [2], "tokens": ["[SEP]"]}}},
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 8,
              "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "[MASK]": 3, "un": 4, "##aff": 5, "##able": 6,
                        "the": 7, "##s": 8, "!": 9, "日": 10, "é": 11, "e": 12, "'": 13, "t": 14, "don": 15}}
  })",
                    "bert_json");
}

// Byte-level BPE: the 256 bytes by value, then "he" 256, "lo" 257, "Ġhe" 258, "llo" 259.
inline Json bpe_json() {
  Json file = parse_json(R"({
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {}, "merges": ["h e", "l o", "Ġ he", ["l", "lo"]]}
  })",
                         "bpe_json");
  Json& vocab = file["model"]["vocab"];
  for (int byte = 0; byte < 256; ++byte) {
    std::string token;
    append_utf8(token, char_of_byte(static_cast<std::uint8_t>(byte)));
    vocab[token] = byte;
  }
  vocab["he"] = 256;
  vocab["lo"] = 257;
  vocab["Ġhe"] = 258;
  vocab["llo"] = 259;
  return file;
}

inline Tokenizer tokenizer_of(const Json& file) {
  return Tokenizer::from_json(dump_json(file), "t.json");
}

// "token[begin,end) ..." of a text without special tokens.
inline std::string shown(const Tokenizer& tokenizer, const Encoding& encoding) {
  std::string text;
  for (std::size_t i = 0; i < encoding.size(); ++i) {
    text += cat(i > 0 ? " " : "", tokenizer.id_to_token(encoding.ids[i]), "[",
                encoding.offsets[i].begin, ",", encoding.offsets[i].end, ")");
  }
  return text;
}
inline std::string shown(const Tokenizer& tokenizer, std::string_view text) {
  return shown(tokenizer, tokenizer.encode(text, {.add_special = false}));
}

}  // namespace trireme::text
