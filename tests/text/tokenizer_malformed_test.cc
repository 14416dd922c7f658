// Every way a tokenizer.json can be wrong or beyond us, each refused with one line that says where
// and what.
#include "tests/text/text_util.h"

namespace trireme::text {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

struct Malformed {
  const char* name;
  const char*
      pointer;  // what to replace in the tokenizer (JSON pointer), or with "-" in front to take out
  const char* value;
  const char* message;  // behind "t.json: "
};

std::string error_of(Json file, const Malformed& m) {
  std::string pointer = m.pointer;
  if (pointer.starts_with('-')) {
    const Json::json_pointer at(pointer.substr(1));
    file[at.parent_pointer()].erase(at.back());
  } else {
    file[Json::json_pointer(pointer)] = parse_json(m.value, m.name);
  }
  return test::input_error_of([&] { tokenizer_of(file); });
}

class MalformedBert : public testing::TestWithParam<Malformed> {};
TEST_P(MalformedBert, IsRefused) {
  const std::string message = error_of(bert_json(), GetParam());
  EXPECT_THAT(message, StartsWith("t.json"));
  EXPECT_THAT(message, HasSubstr(GetParam().message));
}

const Malformed kBert[] = {
    {"Version", "/version", R"("2.0")", "version '2.0' is not supported; 1.0 is"},
    {"VersionType", "/version", "1", "key 'version' must be a string"},
    {"NoModel", "-/model", "", "key 'model' is missing"},
    {"ModelNoObject", "/model", "[]", "key 'model' must be an object"},
    {"ModelType", "/model/type", R"("Unigram")",
     "model: type 'Unigram' is not supported; supported: WordPiece, BPE"},
    {"ModelTypeNoText", "/model/type", "7", "model: key 'type' must be a string"},
    {"NoVocab", "-/model/vocab", "", "model: key 'vocab' is missing"},
    {"VocabNoObject", "/model/vocab", R"(["a"])", "model: key 'vocab' must be an object"},
    {"VocabEmpty", "/model/vocab", "{}", "special_tokens: '[CLS]': no token has the id 1"},
    {"IdNoNumber", "/model/vocab/the", R"("7")",
     "model: vocab: the id of 'the' must be an integer from 0 on"},
    {"IdFraction", "/model/vocab/the", "7.5",
     "the id of 'the' must be an integer from 0 on, not 7.5"},
    {"IdNegative", "/model/vocab/the", "-1",
     "the id of 'the' must be an integer from 0 on, not -1"},
    {"IdLarge", "/model/vocab/the", "2147483648", "the id of 'the' must be an integer from 0 on"},
    {"IdTwice", "/model/vocab/the", "6", "model: vocab: two tokens have the id 6"},
    {"IdFarOff", "/model/vocab/the", "2000000000",
     "the largest id is 2000000000, but there are only 16 tokens; number them without such gaps"},
    {"NoUnk", "-/model/unk_token", "", "model: key 'unk_token' is missing"},
    {"UnkNotThere", "/model/unk_token", R"("<unk>")",
     "the vocabulary has no unknown token '<unk>'"},
    {"NoPrefix", "-/model/continuing_subword_prefix", "",
     "key 'continuing_subword_prefix' is missing"},
    {"MaxCharsNegative", "/model/max_input_chars_per_word", "-1",
     "key 'max_input_chars_per_word' is -1; it must not be negative"},
    {"MaxCharsText", "/model/max_input_chars_per_word", R"("8")",
     "key 'max_input_chars_per_word' must be an integer"},

    {"NormalizerType", "/normalizer/type", R"("Precompiled")",
     "normalizer: type 'Precompiled' is not supported; supported: BertNormalizer, NFC, NFD, NFKC, "
     "NFKD, "
     "Lowercase, StripAccents, Strip, Replace, Sequence"},
    {"NormalizerNoObject", "/normalizer", "3", "t.json: normalizer must be an object"},
    {"NormalizerNoType", "/normalizer", "{}", "normalizer: key 'type' is missing"},
    {"NormalizerOption", "/normalizer/lowercase", "1",
     "normalizer: key 'lowercase' must be true or false"},
    {"NormalizerStripAccents", "/normalizer/strip_accents", R"("yes")",
     "normalizer: key 'strip_accents' must be true or false"},
    {"SequenceNoList", "/normalizer", R"({"type": "Sequence"})",
     "normalizer: key 'normalizers' is missing"},
    {"SequenceInside", "/normalizer",
     R"({"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Nmt"}]})",
     "normalizer: normalizers[1]: type 'Nmt' is not supported"},
    {"Strip", "/normalizer", R"({"type": "Strip", "strip_left": true})",
     "normalizer: key 'strip_right' is missing"},
    {"ReplaceRegex", "/normalizer",
     R"({"type": "Replace", "pattern": {"Regex": "a"}, "content": ""})",
     "normalizer: pattern: type 'Regex' is not supported; supported: String"},
    {"ReplaceEmpty", "/normalizer",
     R"({"type": "Replace", "pattern": {"String": ""}, "content": "a"})",
     "normalizer: pattern: is empty"},
    {"ReplaceNoPattern", "/normalizer", R"({"type": "Replace", "content": "a"})",
     "key 'pattern' is missing"},

    {"NoPreTokenizer", "-/pre_tokenizer", "",
     "pre_tokenizer: a WordPiece model needs one BertPreTokenizer, and there are 0"},
    {"PreTokenizerType", "/pre_tokenizer/type", R"("Whitespace")",
     "pre_tokenizer: type 'Whitespace' is not supported; supported: BertPreTokenizer (with a "
     "WordPiece model)"},
    {"PreTokenizerOfBpe", "/pre_tokenizer", R"({"type": "ByteLevel", "add_prefix_space": false})",
     "type 'ByteLevel' is not supported; supported: BertPreTokenizer"},
    {"TwoPreTokenizers", "/pre_tokenizer",
     R"({"type": "Sequence", "pretokenizers": [{"type": "BertPreTokenizer"}, {"type": "BertPreTokenizer"}]})",
     "pre_tokenizer: a WordPiece model needs one BertPreTokenizer, and there are 2"},

    {"PostProcessorType", "/post_processor/type", R"("Other")",
     "post_processor: type 'Other' is not supported; supported: BertProcessing, RobertaProcessing, "
     "ByteLevel, "
     "TemplateProcessing, Sequence"},
    {"TemplateNoSingle", "-/post_processor/single", "", "post_processor: key 'single' is missing"},
    {"TemplatePieceKind", "/post_processor/single/0", R"({"Other": {}})",
     "post_processor: single[0]: key 'Sequence' is missing"},
    {"TemplatePieceNoObject", "/post_processor/pair/2", R"("$A")",
     "post_processor: pair[2] must be an object"},
    {"TemplateSequence", "/post_processor/single/1/Sequence/id", R"("C")",
     "single[1]: Sequence 'C' is neither \"A\" nor \"B\""},
    {"TemplateSecondInSingle", "/post_processor/single/1/Sequence/id", R"("B")",
     "post_processor: single: takes one text, but has Sequence \"B\""},
    {"TemplatePairWithoutSecond", "/post_processor/pair/3/Sequence/id", R"("A")",
     "post_processor: pair: must have both Sequence \"A\" and Sequence \"B\""},
    {"TemplateTypeId", "/post_processor/pair/3/Sequence/type_id", "256",
     "pair[3]: type_id 256 is out of range, 0 to 255"},
    {"TemplateSpecialUnknown", "/post_processor/single/0/SpecialToken/id", R"("[BOS]")",
     "post_processor: the template has '[BOS]', which special_tokens lacks"},
    {"TemplateSpecialId", "/post_processor/special_tokens/[CLS]/ids/0", "99",
     "special_tokens: '[CLS]': no token has the id 99"},
    {"TemplateSpecialIdText", "/post_processor/special_tokens/[CLS]/ids/0", R"("1")",
     "special_tokens: '[CLS]' must be an integer"},
    {"BertProcessingNoSep", "/post_processor", R"({"type": "BertProcessing", "cls": ["[CLS]", 1]})",
     "post_processor: key 'sep' is missing"},
    {"BertProcessingPair", "/post_processor",
     R"({"type": "BertProcessing", "cls": ["[CLS]"], "sep": ["[SEP]", 2]})",
     "post_processor: cls: must be a token and its id"},
    {"BertProcessingId", "/post_processor",
     R"({"type": "BertProcessing", "cls": ["[CLS]", 1], "sep": ["[SEP]", -2]})",
     "post_processor: sep: no token has the id -2"},
    {"TwoTemplates", "/post_processor",
     R"({"type": "Sequence", "processors": [{"type": "BertProcessing", "cls": ["[CLS]", 1], "sep": ["[SEP]", 2]},
         {"type": "ByteLevel", "trim_offsets": true, "add_prefix_space": true}]})",
     "post_processor: processors[1]: nothing may come behind the processor that adds special "
     "tokens"},

    {"DecoderType", "/decoder/type", R"("Metaspace")",
     "decoder: type 'Metaspace' is not supported; supported: WordPiece, ByteLevel"},
    {"DecoderOption", "-/decoder/prefix", "", "decoder: key 'prefix' is missing"},
    {"TwoDecoders", "/decoder",
     R"({"type": "Sequence", "decoders": [{"type": "ByteLevel"}, {"type": "ByteLevel"}]})",
     "decoder: one is supported, and there are 2"},
    {"AddedNoArray", "/added_tokens", "{}", "added_tokens must be an array"},
    {"AddedNoObject", "/added_tokens", "[1]", "added_tokens[0] must be an object"},
    {"AddedNoContent", "/added_tokens", R"([{"id": 16}])",
     "added_tokens[0]: key 'content' is missing"},
    {"AddedId", "/added_tokens",
     R"([{"id": -1, "content": "x", "single_word": false, "lstrip": false, "rstrip": false, "normalized": true,
          "special": false}])",
     "added_tokens[0]: id -1 is out of range"},
    {"AddedWrongId", "/added_tokens",
     R"([{"id": 20, "content": "x", "single_word": false, "lstrip": false, "rstrip": false, "normalized": true,
          "special": false}])",
     "the added token 'x' has id 20, but its place in the vocabulary gives 16"},
    {"AddedNothingLeft", "/added_tokens",
     R"([{"id": 16, "content": "\u0301", "single_word": false, "lstrip": false, "rstrip": false, "normalized": true,
          "special": false}])",
     "nothing is left of the added token"},
};
INSTANTIATE_TEST_SUITE_P(All, MalformedBert, testing::ValuesIn(kBert),
                         [](const auto& tested) { return std::string(tested.param.name); });

class MalformedBpe : public testing::TestWithParam<Malformed> {};
TEST_P(MalformedBpe, IsRefused) {
  const std::string message = error_of(bpe_json(), GetParam());
  EXPECT_THAT(message, StartsWith("t.json"));
  EXPECT_THAT(message, HasSubstr(GetParam().message));
}

const Malformed kBpe[] = {
    {"NoMerges", "-/model/merges", "", "model: key 'merges' is missing"},
    {"MergesNoArray", "/model/merges", "{}", "model: key 'merges' must be an array"},
    {"MergeNoPair", "/model/merges/1", R"("lo")",
     "merges[1]: a merge is two tokens with one blank between, not 'lo'"},
    {"MergeThree", "/model/merges/1", R"("l o x")",
     "merges[1]: a merge is two tokens with one blank between"},
    {"MergeArray", "/model/merges/1", R"(["l"])", "merges[1]: must be two tokens"},
    {"MergeNumber", "/model/merges/1", "5", "merges[1]: must be two tokens"},
    {"MergeArrayNumber", "/model/merges/1", R"(["l", 5])", "merges[1] must be a string"},
    {"MergeUnknown", "/model/merges/1", R"("l q")",
     "merge 2 ('l' 'q'): 'lq' is not in the vocabulary"},
    {"UnkNotThere", "/model/unk_token", R"("<unk>")",
     "the vocabulary has no unknown token '<unk>'"},
    {"Dropout", "/model/dropout", "0.1",
     "model: key 'dropout' is not supported in a byte-level BPE model; only null is"},
    {"Suffix", "/model/end_of_word_suffix", R"("</w>")",
     "model: key 'end_of_word_suffix' is not supported in a byte-level BPE model; only null or "
     "\"\" is"},
    {"Prefix", "/model/continuing_subword_prefix", R"("##")",
     "key 'continuing_subword_prefix' is not supported"},
    {"ByteFallback", "/model/byte_fallback", "true",
     "key 'byte_fallback' is not supported in a byte-level BPE model; "
     "only null or false is"},
    {"PreTokenizer", "/pre_tokenizer/type", R"("BertPreTokenizer")",
     "pre_tokenizer: type 'BertPreTokenizer' is not supported; supported: ByteLevel (with a BPE "
     "model)"},
    {"PreTokenizerOption", "-/pre_tokenizer/add_prefix_space", "",
     "pre_tokenizer: key 'add_prefix_space' is missing"},
    {"NullPreTokenizer", "/pre_tokenizer", "null",
     "pre_tokenizer: a BPE model needs one ByteLevel, and there are 0"},
    {"Roberta", "/post_processor",
     R"({"type": "RobertaProcessing", "sep": ["h", 104], "cls": ["h", 104]})",
     "post_processor: key 'trim_offsets' is missing"},
};
INSTANTIATE_TEST_SUITE_P(All, MalformedBpe, testing::ValuesIn(kBpe),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(MalformedTokenizer, Json) {
  const auto error = [](std::string_view text) {
    return test::input_error_of([&] { Tokenizer::from_json(text, "t.json"); });
  };
  EXPECT_THAT(error(""), StartsWith("t.json:1:1: not valid JSON"));
  EXPECT_THAT(error("[]"), HasSubstr("t.json must be an object"));
  EXPECT_THAT(error(R"({"model":{"vocab":{"a":0,"a":1}}})"), HasSubstr("key 'a' stands twice"));
  EXPECT_THAT(error("{\"model\":\"\xFF\"}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(error(std::string(200, '[')), StartsWith("t.json:1:"));
}

TEST(MalformedTokenizer, ReplaceStepsThatBlowATextUp) {
  const std::string step =
      R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaa"})";
  Json file = bert_json();
  const auto with = [&](const std::string& steps) {
    file["normalizer"] =
        parse_json(cat(R"({"type": "Sequence", "normalizers": [)", steps, "]}"), "n");
    return file;
  };
  EXPECT_EQ(tokenizer_of(with(cat(step, ",", step))).encode("a").ids.size(), 3U);
  EXPECT_EQ(
      test::input_error_of([&] { tokenizer_of(with(cat(step, ",", step, ",", step, ",", step))); }),
      "t.json: normalizer: normalizers[3]: the Replace steps up to here may make a text more than "
      "4096 times "
      "longer; shorten their content");
}

TEST(MalformedTokenizer, ATextThatIsTooLong) {
  const Tokenizer t = tokenizer_of(bert_json());
  // Never read: the length alone is refused.
  const std::string_view text(reinterpret_cast<const char*>(&t), std::size_t{1} << 30);
  EXPECT_EQ(
      test::input_error_of([&] { t.encode(text); }),
      "a text of 1073741824 bytes is too long to tokenize (limit 1073741824); cut it into parts");
}

}  // namespace
}  // namespace trireme::text
