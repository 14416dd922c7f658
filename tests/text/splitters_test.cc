#include "trireme/text/splitters.h"

#include "tests/text/text_util.h"

namespace trireme::text {
namespace {

using Pieces = std::vector<std::string_view>;

Pieces bert(std::string_view text) {
  const BertSplitter splitter;
  Pieces words;
  for (Span w = splitter.next(text, 0); w.begin < w.end; w = splitter.next(text, w.end)) {
    words.push_back(text.substr(w.begin, w.end - w.begin));
  }
  return words;
}

Pieces gpt2(std::string_view text) {
  const Gpt2Splitter splitter;
  Pieces pieces;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = splitter.piece_end(text, at);
    pieces.push_back(text.substr(at, end - at));
    at = end;
  }
  return pieces;
}

TEST(BertSplitter, WordsAndPunctuation) {
  EXPECT_EQ(bert(""), Pieces{});
  EXPECT_EQ(bert(" \n\u3000"), Pieces{});
  EXPECT_EQ(bert("a  bé\u00a0c"), (Pieces{"a", "bé", "c"}));
  EXPECT_EQ(bert("don't$5«x»!!"), (Pieces{"don", "'", "t", "$", "5", "«", "x", "»", "!", "!"}));
}

TEST(Gpt2Splitter, TheKindsOfPieces) {
  EXPECT_EQ(gpt2("Hello world"), (Pieces{"Hello", " world"}));
  EXPECT_EQ(gpt2("abc123 45é½"), (Pieces{"abc", "123", " 45", "é", "½"}));
  EXPECT_EQ(gpt2("a !? b"), (Pieces{"a", " !?", " b"}));
  EXPECT_EQ(gpt2("日本 語"), (Pieces{"日本", " 語"}));
}

TEST(Gpt2Splitter, Contractions) {
  EXPECT_EQ(gpt2("don't we've I'll he'd"),
            (Pieces{"don", "'t", " we", "'ve", " I", "'ll", " he", "'d"}));
  EXPECT_EQ(gpt2("'tis it'S ''s"), (Pieces{"'t", "is", " it", "'", "S", " ''", "s"}))
      << "lower case only, and not within a run of other marks";
}

TEST(Gpt2Splitter, WhiteSpaceLeavesItsLastCharacter) {
  EXPECT_EQ(gpt2("a   b"), (Pieces{"a", "  ", " b"}));
  EXPECT_EQ(gpt2("a\n\nb"), (Pieces{"a", "\n", "\n", "b"})) << "only a blank joins a word";
  EXPECT_EQ(gpt2("a  \u3000"), (Pieces{"a", "  \u3000"})) << "all of it at the end";
  EXPECT_EQ(gpt2("a \tb"), (Pieces{"a", " ", "\t", "b"}));
}

}  // namespace
}  // namespace trireme::text
