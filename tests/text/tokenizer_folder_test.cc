// Tokenizers from folders of every kind.
#include <filesystem>

#include "tests/text/text_util.h"
#include "trireme/base/files.h"

namespace trireme::text {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr const char* kVocabTxt = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nThe\n##s\né\n";

class Folder : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& content) {
    write_file_atomic(dir_ / name, content);
  }
  Tokenizer load() { return Tokenizer::load(dir_.path()); }
  std::string error() {
    return test::input_error_of([this] { load(); });
  }
  test::TempDir dir_;
};

TEST_F(Folder, VocabTxtIsAnUncasedBert) {
  write("vocab.txt", kVocabTxt);
  const Tokenizer t = load();
  EXPECT_EQ(shown(t, t.encode("The thes [MASK]")),
            "[CLS][0,0) the[0,3) the[4,7) ##s[7,8) [MASK][9,15) [SEP][0,0)");
  EXPECT_EQ(t.pad_id(), 0);
  EXPECT_EQ(t.decode(t.encode("The thes").ids, true), "the thes");
}

TEST_F(Folder, TokenizerConfigHasTheOptionsOfVocabTxt) {
  write("vocab.txt", kVocabTxt);
  write("tokenizer_config.json", R"({"do_lower_case": false, "tokenize_chinese_chars": true})");
  EXPECT_EQ(shown(load(), "The é"), "The[0,3) é[4,5)");
  write("tokenizer_config.json", R"({"strip_accents": false})");
  EXPECT_EQ(shown(load(), "The É"), "the[0,3) é[4,5)");
}

TEST_F(Folder, TokenizerConfigNamesSpecialTokens) {
  write("vocab.txt", "<pad>\n<unk>\n<cls>\n<sep>\nthe\n");
  write(
      "tokenizer_config.json",
      R"({"unk_token": "<unk>", "cls_token": {"content": "<cls>", "lstrip": false}, "sep_token": "<sep>",
            "pad_token": "<pad>"})");
  const Tokenizer t = load();
  EXPECT_EQ(t.encode("the x").ids, (std::vector<std::int32_t>{2, 4, 1, 3}));
  EXPECT_EQ(t.pad_id(), 0);
}

TEST_F(Folder, VocabTxtLinesEndInAnyWhiteSpace) {
  write("vocab.txt", "[UNK]\r\n[CLS]\r\n[SEP]\r\nthe \t\r\nlast");
  const Tokenizer t = load();
  EXPECT_EQ(t.vocab_size(), 5);
  EXPECT_EQ(shown(t, "the last"), "the[0,3) last[4,8)");
}

TEST_F(Folder, VocabTxtNeedsItsSpecialTokens) {
  write("vocab.txt", "[UNK]\n[CLS]\nthe\n");
  EXPECT_THAT(error(), HasSubstr("vocab.txt: the special token '[SEP]' is not in the vocabulary"));
  write("vocab.txt", "[CLS]\n[SEP]\nthe\n");
  EXPECT_THAT(error(), HasSubstr("vocab.txt: the vocabulary has no unknown token '[UNK]'"));
  write("vocab.txt", "[UNK]\n\xFF\n");
  EXPECT_THAT(error(), HasSubstr("vocab.txt: not a UTF-8 text"));
}

TEST_F(Folder, VocabTxtOfAnotherKindIsRefused) {
  write("vocab.txt", kVocabTxt);
  for (const char* same : {"BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer",
                           "ElectraTokenizerFast", "MobileBertTokenizer"}) {
    write("tokenizer_config.json", dump_json({{"tokenizer_class", same}}));
    EXPECT_EQ(shown(load(), "thes"), "the[0,3) ##s[3,4)") << same;
  }
  for (const std::string other :
       {"BertJapaneseTokenizer", "MPNetTokenizer", "BertTokenizerSlow", "PreTrainedTokenizer"}) {
    write("tokenizer_config.json", dump_json({{"tokenizer_class", other}}));
    EXPECT_THAT(error(), HasSubstr("tokenizer_config.json: tokenizer_class '" + other +
                                   "' cannot be read from vocab.txt (BertTokenizer can)"));
  }
  write("tokenizer_config.json", R"({"tokenizer_class": null, "do_basic_tokenize": true})");
  EXPECT_EQ(shown(load(), "thes"), "the[0,3) ##s[3,4)");
  write("tokenizer_config.json", R"({"do_basic_tokenize": false})");
  EXPECT_THAT(error(), HasSubstr("tokenizer_config.json: 'do_basic_tokenize' is false"));
}

TEST_F(Folder, VocabJsonAndMerges) {
  const Json bpe = bpe_json();
  Json vocab = bpe["model"]["vocab"];
  vocab["<|endoftext|>"] = 260;
  write("vocab.json", dump_json(vocab));
  write("merges.txt", "#version: 0.2\nh e\nl o\r\nĠ he\nl lo");
  const Tokenizer t = load();
  EXPECT_EQ(shown(t, "hello he<|endoftext|>"), "he[0,2) llo[2,5) Ġhe[5,8) <|endoftext|>[8,21)");
  EXPECT_EQ(t.eos_id(), 260);
  write("tokenizer_config.json", R"({"add_prefix_space": true})");
  EXPECT_EQ(shown(load(), "he"), "Ġhe[0,2)");
  write("tokenizer_config.json", R"({"tokenizer_class": "RobertaTokenizer"})");
  EXPECT_THAT(error(),
              HasSubstr("tokenizer_config.json: tokenizer_class 'RobertaTokenizer' cannot be read "
                        "from vocab.json and merges.txt (GPT2Tokenizer can)"));
}

TEST_F(Folder, BrokenMergesNameTheLine) {
  write("vocab.json", R"({"a": 0, "b": 1, "ab": 2})");
  write("merges.txt", "#version: 0.2\na b\nab\n");
  EXPECT_THAT(error(),
              HasSubstr("merges.txt:3: a merge is two tokens with one blank between, not 'ab'"));
  write("merges.txt", "a b\n\nb a\n");
  EXPECT_THAT(error(),
              HasSubstr("merges.txt:2: a merge is two tokens with one blank between, not ''"));
  write("merges.txt", "a c\n");
  EXPECT_THAT(error(), HasSubstr("'c' is not in the vocabulary"));
}

TEST_F(Folder, TokenizerJsonComesFirst) {
  write("vocab.txt", kVocabTxt);
  Json file = bert_json();
  write("tokenizer.json", dump_json(file));
  write("tokenizer_config.json", R"({"mask_token": "the", "pad_token": "[NONE]"})");
  const Tokenizer t = load();
  EXPECT_EQ(t.vocab_size(), 16);
  EXPECT_EQ(t.mask_id(), 7);
  EXPECT_EQ(t.pad_id(), std::nullopt);
  write("tokenizer.json", "{");
  EXPECT_THAT(error(), StartsWith(dir_ / "tokenizer.json:1:2: not valid JSON"));
}

TEST_F(Folder, NothingThere) {
  EXPECT_THAT(
      error(),
      HasSubstr("no tokenizer here; it takes tokenizer.json, or vocab.json and merges.txt, or "
                "vocab.txt"));
  EXPECT_EQ(test::input_error_of([] { Tokenizer::load("/no/such/folder"); }),
            "/no/such/folder: no such folder; give the folder of a Hugging Face model");
  write("vocab.txt", kVocabTxt);
  write("tokenizer_config.json", "[]");
  EXPECT_THAT(error(), HasSubstr("tokenizer_config.json must be an object"));
  write("tokenizer_config.json", R"({"cls_token": 7})");
  EXPECT_THAT(error(), HasSubstr("tokenizer_config.json: key 'cls_token' must be a string"));
}

}  // namespace
}  // namespace trireme::text
