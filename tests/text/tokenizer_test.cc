#include "trireme/text/tokenizer.h"

#include "tests/text/text_util.h"

namespace trireme::text {
namespace {

TEST(Tokenizer, WordPieceWithOffsets) {
  const Tokenizer t = tokenizer_of(bert_json());
  EXPECT_EQ(shown(t, "The unaffable!"), "the[0,3) [UNK][4,13) ![13,14)")
      << "9 characters, 8 allowed";
  EXPECT_EQ(shown(t, "UNABLE the\u0301s"), "un[0,2) ##able[2,6) the[7,10) ##s[11,12)");
  EXPECT_EQ(shown(t, "x日don't"), "[UNK][0,1) 日[1,2) don[2,5) '[5,6) t[6,7)");
  EXPECT_EQ(shown(t, ""), "");
  EXPECT_EQ(shown(t, " \n"), "");
}

TEST(Tokenizer, SpecialTokensAndPairs) {
  const Tokenizer t = tokenizer_of(bert_json());
  const Encoding one = t.encode("the");
  EXPECT_EQ(one.ids, (std::vector<std::int32_t>{1, 7, 2}));
  EXPECT_EQ(one.special_mask, (std::vector<std::uint8_t>{1, 0, 1}));
  const Encoding two = t.encode_pair("un", "the!");
  EXPECT_EQ(shown(t, two), "[CLS][0,0) un[0,2) [SEP][0,0) the[0,3) ![3,4) [SEP][0,0)");
  EXPECT_EQ(two.type_ids, (std::vector<std::uint8_t>{0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(t.encode_pair("un", "the!", {.add_special = false}).ids,
            (std::vector<std::int32_t>{4, 7, 9}));
}

TEST(Tokenizer, OffsetsCountCodePointsOfTheBytesAsPythonReadsThem) {
  const Tokenizer t = tokenizer_of(bert_json());
  // F0 9F 98 is one replacement, C0 AF two; BERT takes them out of the text.
  EXPECT_EQ(shown(t, "\xF0\x9F\x98the\xC0\xAF!"), "the[1,4) ![6,7)");
  EXPECT_EQ(shown(t, "😀the"), "[UNK][0,4)");
  const Tokenizer bytes = tokenizer_of(bpe_json());
  EXPECT_EQ(bytes.encode("\xFF").ids, (std::vector<std::int32_t>{0xEF, 0xBF, 0xBD}));
}

TEST(Tokenizer, ByteLevelBpe) {
  const Tokenizer t = tokenizer_of(bpe_json());
  EXPECT_EQ(shown(t, "hello hé"), "he[0,2) llo[2,5) Ġ[5,6) h[6,7) Ã[7,8) ©[7,8)");
  EXPECT_EQ(shown(t, "hello hello"), "he[0,2) llo[2,5) Ġhe[5,8) llo[8,11)");
  EXPECT_EQ(t.decode(t.encode("hello hé 日").ids, true), "hello hé 日");
}

TEST(Tokenizer, PrefixSpaceBelongsToTheFirstCharacter) {
  Json file = bpe_json();
  file["pre_tokenizer"]["add_prefix_space"] = true;
  const Tokenizer t = tokenizer_of(file);
  EXPECT_EQ(shown(t, "hello"), "Ġhe[0,2) llo[2,5)");
  EXPECT_EQ(shown(t, " hello"), "Ġhe[0,3) llo[3,6)");
  EXPECT_EQ(shown(t, ""), "");
}

TEST(Tokenizer, TrimsOffsets) {
  Json file = bpe_json();
  file["post_processor"] =
      parse_json(R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true})", "p");
  EXPECT_EQ(shown(tokenizer_of(file), "lo hello  "), "lo[0,2) Ġhe[3,5) llo[5,8) Ġ[9,9) Ġ[10,10)");
}

TEST(Tokenizer, WithoutThePatternTheTextIsOnePiece) {
  Json file = bpe_json();
  file["pre_tokenizer"]["use_regex"] = false;
  file["model"]["merges"].push_back("o Ġ");
  file["model"]["vocab"]["oĠ"] = 260;
  EXPECT_EQ(shown(tokenizer_of(file), "o o"), "oĠ[0,2) o[2,3)");
  file["pre_tokenizer"]["use_regex"] = true;
  EXPECT_EQ(shown(tokenizer_of(file), "o o"), "o[0,1) Ġ[1,2) o[2,3)");
}

TEST(Tokenizer, TruncationAndPaddingAreIgnored) {
  Json file = bert_json();
  file["truncation"] =
      parse_json(R"({"max_length": 1, "strategy": "LongestFirst", "stride": 0})", "t");
  file["padding"] = parse_json(R"({"strategy": {"Fixed": 9}, "pad_id": 0})", "p");
  EXPECT_EQ(tokenizer_of(file).encode("the the").ids, (std::vector<std::int32_t>{1, 7, 7, 2}));
}

TEST(Tokenizer, TellsItsVocabulary) {
  const Tokenizer t = tokenizer_of(bert_json());
  EXPECT_EQ(t.vocab_size(), 16);
  EXPECT_EQ(t.token_to_id("##able"), 6);
  EXPECT_EQ(t.token_to_id("able"), std::nullopt);
  EXPECT_EQ(t.id_to_token(6), "##able");
  EXPECT_EQ(t.id_to_token(16), "");
  EXPECT_EQ(t.id_to_token(-1), "");
  EXPECT_EQ(t.cls_id(), 1);
  EXPECT_EQ(t.sep_id(), 2);
  EXPECT_EQ(t.mask_id(), 3);
  EXPECT_EQ(t.unk_id(), 0);
  EXPECT_EQ(t.pad_id(), std::nullopt);
  EXPECT_EQ(t.decode(std::vector<std::int32_t>{7, 99, -5, 8}, false), "thes");
}

TEST(Tokenizer, IdsMayLeaveGaps) {
  Json file = bert_json();
  file["model"]["vocab"]["far"] = 1000;
  const Tokenizer t = tokenizer_of(file);
  EXPECT_EQ(t.vocab_size(), 1001);
  EXPECT_EQ(t.encode("far").ids, (std::vector<std::int32_t>{1, 1000, 2}));
  EXPECT_EQ(t.id_to_token(500), "");
}

TEST(Tokenizer, RobertaHasTwoSeparatorsAndOneType) {
  Json file = bpe_json();
  file["model"]["vocab"]["<s>"] = 260;
  file["model"]["vocab"]["</s>"] = 261;
  file["post_processor"] = parse_json(
      R"({"type": "RobertaProcessing", "sep": ["</s>", 261], "cls": ["<s>", 260],
          "trim_offsets": false, "add_prefix_space": false})",
      "p");
  const Tokenizer t = tokenizer_of(file);
  const Encoding e = t.encode_pair("he", "lo");
  EXPECT_EQ(e.ids, (std::vector<std::int32_t>{260, 256, 261, 261, 257, 261}));
  EXPECT_EQ(e.type_ids, std::vector<std::uint8_t>(6, 0));
  EXPECT_EQ(t.cls_id(), 260);
  EXPECT_EQ(t.eos_id(), 261);
}

TEST(Tokenizer, OldModelsWithoutATypeAreKnownByTheirKeys) {
  Json bert = bert_json();
  bert["model"].erase("type");
  EXPECT_EQ(shown(tokenizer_of(bert), "the"), "the[0,3)");
  Json bpe = bpe_json();
  bpe["model"].erase("type");
  EXPECT_EQ(shown(tokenizer_of(bpe), "he"), "he[0,2)");
}

TEST(Tokenizer, SequencesOfComponents) {
  Json file = bert_json();
  file["normalizer"] = parse_json(
      R"({"type": "Sequence", "normalizers": [{"type": "Lowercase"}, {"type": "Sequence", "normalizers":
          [{"type": "Replace", "pattern": {"String": "these"}, "content": "the!"}]}]})",
      "n");
  file["pre_tokenizer"] =
      parse_json(R"({"type": "Sequence", "pretokenizers": [{"type": "BertPreTokenizer"}]})", "p");
  EXPECT_EQ(shown(tokenizer_of(file), "THESE"), "the[4,5) ![4,5)");
}

}  // namespace
}  // namespace trireme::text
