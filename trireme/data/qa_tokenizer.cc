#include "trireme/data/qa_tokenizer.h"

#include <optional>

#include "trireme/base/error.h"

namespace trireme::data {
namespace {

int32_t special_id(std::optional<int32_t> id, const char* token) {
  if (!id) {
    throw input_error("the tokenizer has no ", token,
                      " token, but windows are [CLS] question [SEP] context [SEP]; take the "
                      "tokenizer of a BERT model");
  }
  return *id;
}

}  // namespace

WindowTokenizer window_tokenizer(const text::Tokenizer& tokenizer) {
  const auto encode = [tokenizer](std::string_view text) {
    text::Encoding encoding = tokenizer.encode(text, {.add_special = false});
    TokenizedText out;
    out.ids = std::move(encoding.ids);
    out.offsets.reserve(encoding.offsets.size());
    for (const text::Offset& offset : encoding.offsets) {
      out.offsets.push_back({static_cast<int32_t>(offset.begin), static_cast<int32_t>(offset.end)});
    }
    return out;
  };
  return {.encode = encode,
          .cls_id = special_id(tokenizer.cls_id(), "[CLS]"),
          .sep_id = special_id(tokenizer.sep_id(), "[SEP]")};
}

}  // namespace trireme::data
