#include "trireme/text/normalizer.h"

#include "tests/text/text_util.h"
#include "trireme/text/code_points.h"

namespace trireme::text {
namespace {

std::string bert(std::string_view text, const BertNormalizerOptions& options = {}) {
  return Normalizer({options}).apply(text);
}

TEST(BertNormalizer, TakesControlsOutAndMakesWhiteSpaceBlanks) {
  using std::string_view_literals::operator""sv;
  EXPECT_EQ(bert("a\0b\x01\t\n\r\u00a0c\u200bd\ufffd\u3000"sv), "ab    cd ");
  EXPECT_EQ(bert("A\tb\u200b", {.clean_text = false}), "a\tb\u200b");
}

TEST(BertNormalizer, PutsBlanksAroundCjk) {
  EXPECT_EQ(bert("a日本b"), "a 日  本 b");
  EXPECT_EQ(bert("a日本b", {.handle_chinese_chars = false}), "a日本b");
  EXPECT_EQ(bert("かな한글"), bert("かな한글", {.handle_chinese_chars = false}));
}

TEST(BertNormalizer, LowersAndStripsAccents) {
  EXPECT_EQ(bert("ÄÉı İ ΑΣ"), "aeı i ασ");
}

TEST(BertNormalizer, StripAccentsFollowsLowercaseUnlessSet) {
  EXPECT_EQ(bert("É", {.lowercase = false}), "É");
  EXPECT_EQ(bert("É", {.strip_accents = true, .lowercase = false}), "E");
  EXPECT_EQ(bert("É", {.strip_accents = false}), "é");
}

TEST(BertNormalizer, FastAndStepByStepAreTheSame) {
  std::string text;
  for (char32_t c = 0; c < 0x3000; ++c) append_utf8(text, c);
  // A spacing mark of a class (a tone mark of Hangul) sends the whole text through the steps.
  for (const char* more : {"", "\u302e", "\U0001D165"}) {
    const std::string all = text + more;
    for (const BertNormalizerOptions& options :
         {BertNormalizerOptions{},
          BertNormalizerOptions{.strip_accents = true, .lowercase = false}}) {
      SourcedText fast;
      BertNormalizer::of(options).apply(all, 7, fast);
      SourcedChars chars = to_sourced_chars(all, 7);
      apply_bert_steps(options, chars);
      const SourcedText slow = from_chars(chars);
      EXPECT_EQ(fast.bytes, slow.bytes);
      EXPECT_EQ(fast.source, slow.source);
    }
  }
}

TEST(BertNormalizer, KeepsSources) {
  SourcedText out;
  BertNormalizer::of({}).apply("\u00e9\u0301\u200b日x", 10, out);
  EXPECT_EQ(out.bytes, "e 日 x");
  EXPECT_EQ(out.source, (std::vector<std::uint32_t>{10, 13, 13, 13, 13, 13, 14}));
}

std::string applied(std::vector<NormalizerStep> steps, std::string_view text) {
  return Normalizer(std::move(steps)).apply(text);
}

TEST(Normalizer, Forms) {
  EXPECT_EQ(applied({NormalForm::kNfd}, "é ﬁ 각"), "e\u0301 ﬁ \u1100\u1161\u11a8");
  EXPECT_EQ(applied({NormalForm::kNfc}, "e\u0301 ﬁ \u1100\u1161\u11a8"), "é ﬁ 각");
  EXPECT_EQ(applied({NormalForm::kNfkd}, "é ﬁ²"), "e\u0301 fi2");
  EXPECT_EQ(applied({NormalForm::kNfkc}, "e\u0301 ﬁ²"), "é fi2");
  EXPECT_EQ(applied({NormalForm::kNfd}, "a\u0301\u0323"), "a\u0323\u0301") << "canonical order";
  EXPECT_EQ(applied({NormalForm::kNfc}, "a\u0315\u0300\u05ae\u0300b"), "à\u05ae\u0300\u0315b")
      << "line of the Unicode test data: a blocked mark stays";
}

TEST(Normalizer, FormsKeepSources) {
  SourcedText out;
  Normalizer({NormalForm::kNfc}).apply("xe\u0301y", 0, out);
  EXPECT_EQ(out.bytes, "xéy");
  EXPECT_EQ(out.source, (std::vector<std::uint32_t>{0, 1, 1, 3}));
  Normalizer({NormalForm::kNfkd}).apply("ﬁy", 5, out);
  EXPECT_EQ(out.bytes, "fiy");
  EXPECT_EQ(out.source, (std::vector<std::uint32_t>{5, 5, 6}));
}

TEST(Normalizer, LowercaseHasNoFinalSigma) {
  EXPECT_EQ(applied({LowercaseStep{}}, "ΟΔΟΣ İẞ"), "οδοσ i\u0307ß");
}

TEST(Normalizer, StripAccentsWantsDecomposedText) {
  EXPECT_EQ(applied({StripAccentsStep{}}, "e\u0301é"), "eé");
  EXPECT_EQ(applied({NormalForm::kNfd, StripAccentsStep{}}, "e\u0301é"), "ee");
}

TEST(Normalizer, Strip) {
  EXPECT_EQ(applied({StripStep{true, true}}, " \t a b\u3000"), "a b");
  EXPECT_EQ(applied({StripStep{true, false}}, " a "), "a ");
  EXPECT_EQ(applied({StripStep{false, true}}, " a "), " a");
  EXPECT_EQ(applied({StripStep{true, true}}, " \n "), "");
}

TEST(Normalizer, Replace) {
  EXPECT_EQ(applied({ReplaceStep{U"aa", U"b"}}, "aaaaa"), "bba");
  EXPECT_EQ(applied({ReplaceStep{U"é", U""}}, "été"), "t");
  SourcedText out;
  Normalizer({ReplaceStep{U"ab", U"xyz"}}).apply("-ab-", 0, out);
  EXPECT_EQ(out.bytes, "-xyz-");
  EXPECT_EQ(out.source, (std::vector<std::uint32_t>{0, 2, 2, 2, 3}));
}

TEST(Normalizer, StepsInOrder) {
  EXPECT_EQ(applied({LowercaseStep{}, ReplaceStep{U"a", U"B"}}, "Aa"), "BB");
  EXPECT_EQ(applied({ReplaceStep{U"a", U"B"}, LowercaseStep{}}, "Aa"), "ab");
  EXPECT_EQ(applied({}, "Aa"), "Aa");
}

TEST(CodePoints, FollowTheirUnicodeVersions) {
  EXPECT_TRUE(is_letter(0x1C89)) << "Unicode 16";
  EXPECT_TRUE(is_number(0xBD));
  EXPECT_FALSE(is_letter('1'));
  EXPECT_TRUE(is_bert_punctuation('`'));
  EXPECT_FALSE(is_bert_punctuation(0x2E4F)) << "Unicode 12";
  EXPECT_TRUE(is_bert_cjk(0x4E00));
  EXPECT_FALSE(is_bert_cjk(0x3042));
  EXPECT_TRUE(is_word('_'));
  EXPECT_FALSE(is_word('-'));
  EXPECT_FALSE(is_white_space(0x200B));
}

}  // namespace
}  // namespace trireme::text
