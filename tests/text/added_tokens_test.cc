#include "trireme/text/added_tokens.h"

#include "tests/text/text_util.h"

namespace trireme::text {
namespace {

// "text|<TOKEN>|text", a token by its content.
std::string split(const std::vector<AddedToken>& tokens, std::string_view text) {
  AddedTokenMatcher matcher;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    matcher.add(tokens[i].content, static_cast<std::int32_t>(i));
  }
  std::string result;
  for (const Segment& s : matcher.split(text, tokens)) {
    const std::string part(text.substr(s.begin, s.end - s.begin));
    result += (result.empty() ? "" : "|") + (s.token < 0 ? part : "<" + part + ">");
  }
  return result;
}

TEST(AddedTokens, AreCutOut) {
  EXPECT_EQ(split({{.content = "[X]"}}, "a[X][X]b"), "a|<[X]>|<[X]>|b");
  EXPECT_EQ(split({{.content = "[X]"}}, "[X]"), "<[X]>");
  EXPECT_EQ(split({{.content = "[X]"}}, "none [X"), "none [X");
  EXPECT_EQ(split({}, ""), "");
}

TEST(AddedTokens, TheLongestOfThoseThatBeginFirst) {
  EXPECT_EQ(split({{.content = "ab"}, {.content = "abc"}, {.content = "bcd"}}, "abcd"), "<abc>|d");
}

TEST(AddedTokens, SingleWord) {
  const std::vector<AddedToken> tokens = {{.content = "the", .single_word = true}};
  EXPECT_EQ(split(tokens, "the then the"), "<the>| then |<the>");
  EXPECT_EQ(split(tokens, "éthe the日 _the"), "éthe the日 _the");
  EXPECT_EQ(split(tokens, "-the-"), "-|<the>|-");
}

TEST(AddedTokens, TakeWhiteSpace) {
  EXPECT_EQ(split({{.content = "X", .lstrip = true}}, "a \t\u3000X b"), "a|< \t\u3000X>| b");
  EXPECT_EQ(split({{.content = "X", .rstrip = true}}, "a X \nb"), "a |<X \n>|b");
  EXPECT_EQ(split({{.content = "X", .lstrip = true, .rstrip = true}}, " X  X "), "< X  >|<X >");
}

Json with_added(const char* more) {
  Json file = bert_json();
  file["added_tokens"] = parse_json(
      cat(R"([{"id": 16, "content": "Oar", "single_word": false, "lstrip": false, "rstrip": false, )",
          more, "}]"),
      "added");
  return file;
}

TEST(AddedTokens, NormalizedOnesAreFoundInTheNormalisedText) {
  const Tokenizer yes = tokenizer_of(with_added(R"("normalized": true, "special": false)"));
  EXPECT_EQ(shown(yes, "the ÓAR the"), "the[0,3) oar[4,7) the[8,11)");
  const Tokenizer no = tokenizer_of(with_added(R"("normalized": false, "special": true)"));
  EXPECT_EQ(shown(no, "oar Oar"), "[UNK][0,3) Oar[4,7)");
  EXPECT_EQ(no.token_to_id("Oar"), 16);
  EXPECT_EQ(no.decode(std::vector<std::int32_t>{7, 16}, true), "the");
  EXPECT_EQ(no.decode(std::vector<std::int32_t>{7, 16}, false), "the Oar");
}

}  // namespace
}  // namespace trireme::text
