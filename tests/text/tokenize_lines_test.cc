#include "trireme/text/tokenize_lines.h"

#include <sstream>

#include "tests/text/text_util.h"

namespace trireme::text {
namespace {

std::string lines(const std::string& text, bool special = false) {
  std::istringstream in(text);
  std::ostringstream out;
  tokenize_lines(tokenizer_of(bert_json()), in, out, special);
  return out.str();
}

constexpr const char* kThe = R"({"ids":[7],"offsets":[[0,3]],"tokens":["the"]})";
constexpr const char* kNone = R"({"ids":[],"offsets":[],"tokens":[]})";

TEST(TokenizeLines, OneObjectALine) {
  EXPECT_EQ(lines("the\n"), cat(kThe, "\n"));
  EXPECT_EQ(lines("the"), cat(kThe, "\n")) << "a last line without \\n counts";
  EXPECT_EQ(lines(""), "");
  EXPECT_EQ(lines("\nthe\n\n"), cat(kNone, "\n", kThe, "\n", kNone, "\n"));
}

TEST(TokenizeLines, NothingElseEndsALine) {
  EXPECT_EQ(lines("the\r\n"), cat(kThe, "\n"));
  EXPECT_EQ(
      lines("the\rthe\u2028the\x0b!"),
      R"({"ids":[7,7,7,9],"offsets":[[0,3],[4,7],[8,11],[12,13]],"tokens":["the","the","the","!"]})"
      "\n");
}

TEST(TokenizeLines, SpecialTokensWhenAsked) {
  EXPECT_EQ(lines("日", true),
            R"({"ids":[1,10,2],"offsets":[[0,0],[0,1],[0,0]],"tokens":["[CLS]","日","[SEP]"]})"
            "\n");
}

}  // namespace
}  // namespace trireme::text
