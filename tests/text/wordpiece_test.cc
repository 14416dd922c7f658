#include "trireme/text/wordpiece.h"

#include <numeric>

#include "tests/text/text_util.h"

namespace trireme::text {
namespace {

// Ids and offsets of a word whose bytes are numbered as ASCII characters are.
std::string pieces(const WordPiece& model, std::string_view word) {
  std::vector<std::uint32_t> source(word.size());
  std::iota(source.begin(), source.end(), 0);
  Encoding out;
  model.encode({word, source.data()}, out);
  std::string text;
  for (std::size_t i = 0; i < out.size(); ++i) {
    text += cat(i > 0 ? " " : "", out.ids[i], ":", out.offsets[i].begin, "-", out.offsets[i].end);
  }
  return text;
}

const auto kVocab = numbered({"[UNK]", "a", "ab", "abc", "##b", "##bc", "##c", "##日"});

TEST(WordPiece, TakesTheLongestPieceFromTheLeft) {
  const WordPiece model(kVocab, {}, "v");
  EXPECT_EQ(pieces(model, "abc"), "3:0-3");
  EXPECT_EQ(pieces(model, "abbc"), "2:0-2 5:2-4");
  EXPECT_EQ(pieces(model, "ab\xE6\x97\xA5"), "2:0-2 7:2-5");
}

TEST(WordPiece, AWordThatCannotBeCutUpIsOneUnknownToken) {
  const WordPiece model(kVocab, {}, "v");
  EXPECT_EQ(pieces(model, "abx"), "0:0-3");
  EXPECT_EQ(pieces(model, "bc"), "0:0-2") << "a continuing piece does not begin a word";
  EXPECT_EQ(pieces(model, "ab\xE6\x97\xA6"), "0:0-5") << "same first bytes as a token";
}

TEST(WordPiece, CountsCodePointsForItsLimit) {
  const WordPiece model(kVocab, {.max_input_chars_per_word = 3}, "v");
  EXPECT_EQ(pieces(model, "abc"), "3:0-3");
  EXPECT_EQ(pieces(model, "abbc"), "0:0-4");
  EXPECT_EQ(pieces(model, "ab\xE6\x97\xA5"), "2:0-2 7:2-5") << "3 characters of 5 bytes";
}

TEST(WordPiece, OtherPrefixAndUnknownToken) {
  const auto vocab = numbered({"a", "?", "-b"});
  const WordPiece model(vocab, {.unk_token = "?", .continuing_subword_prefix = "-"}, "v");
  EXPECT_EQ(pieces(model, "abb"), "0:0-1 2:1-2 2:2-3");
  EXPECT_EQ(model.unk_id(), 1);
}

TEST(WordPiece, AnEmptyPrefixLetsEveryTokenGoOn) {
  const WordPiece model(numbered({"?", "a", "b"}),
                        {.unk_token = "?", .continuing_subword_prefix = ""}, "v");
  EXPECT_EQ(pieces(model, "aba"), "1:0-1 2:1-2 1:2-3");
}

TEST(WordPiece, NeedsItsUnknownToken) {
  EXPECT_EQ(
      test::input_error_of([] { WordPiece(numbered({"a"}), {}, "vocab.txt"); }),
      "vocab.txt: the vocabulary has no unknown token '[UNK]'; add it, or name another one as "
      "unk_token");
}

}  // namespace
}  // namespace trireme::text
