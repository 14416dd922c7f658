// The tokenizers of tests/golden/tokenizers (made by make_tokenizers.py), each text as PyPI
// `tokenizers` encodes it.
#include <filesystem>

#include "tests/text/text_util.h"
#include "trireme/base/files.h"

namespace trireme::text {
namespace {

class Golden : public testing::TestWithParam<const char*> {};

Encoding encode(const Tokenizer& tokenizer, const Json& text, bool special) {
  if (text.is_string()) return tokenizer.encode(text.get<std::string>(), {.add_special = special});
  return tokenizer.encode_pair(text[0].get<std::string>(), text[1].get<std::string>(),
                               {.add_special = special});
}

TEST_P(Golden, Encodings) {
  const std::string folder =
      TRIREME_SOURCE_DIR "/tests/golden/tokenizers/" + std::string(GetParam());
  const Tokenizer tokenizer = Tokenizer::load(folder);
  const Json cases = read_json_file(folder + "/cases.json");
  ASSERT_GE(cases.size(), 30U);
  for (const Json& expected : cases) {
    const Encoding e = encode(tokenizer, expected["text"], true);
    Json offsets = Json::array();
    for (const Offset o : e.offsets) offsets.push_back({o.begin, o.end});
    EXPECT_EQ(Json(e.ids), expected["ids"]) << expected["text"];
    EXPECT_EQ(offsets, expected["offsets"]) << expected["text"];
    EXPECT_EQ(Json(e.type_ids), expected["type_ids"]) << expected["text"];
    EXPECT_EQ(Json(e.special_mask), expected["special_mask"]) << expected["text"];
    EXPECT_EQ(Json(tokenizer.decode(e.ids, true)), expected["decoded"]) << expected["text"];
    EXPECT_EQ(Json(encode(tokenizer, expected["text"], false).ids), expected["plain_ids"])
        << expected["text"];
  }
}

INSTANTIATE_TEST_SUITE_P(All, Golden,
                         testing::Values("wordpiece", "wordpiece_vocab_txt",
                                         "wordpiece_cased_added", "roberta", "gpt2_merges",
                                         "bpe_nfkc_lower", "bpe_unknown_fused",
                                         "bpe_bytes_missing"),
                         [](const auto& tested) { return std::string(tested.param); });

}  // namespace
}  // namespace trireme::text
