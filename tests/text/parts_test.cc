// The smaller parts: the byte alphabet, the table of tokens, the post-processor and the decoders.
#include <array>

#include "tests/text/text_util.h"
#include "trireme/text/decoder.h"
#include "trireme/text/post_processor.h"
#include "trireme/text/token_table.h"

namespace trireme::text {
namespace {

TEST(ByteAlphabet, IsGpt2s) {
  EXPECT_EQ(char_of_byte('A'), U'A');
  EXPECT_EQ(char_of_byte(' '), U'Ġ');
  EXPECT_EQ(char_of_byte('\n'), U'Ċ');
  EXPECT_EQ(char_of_byte(0), U'Ā');
  EXPECT_EQ(char_of_byte(0xAD), U'\u0143');
  EXPECT_EQ(char_of_byte(0xFF), U'ÿ');
  for (int byte = 0; byte < 256; ++byte) {
    EXPECT_EQ(byte_of_char(char_of_byte(static_cast<std::uint8_t>(byte))), byte);
  }
  EXPECT_EQ(byte_of_char(U' '), -1);
  EXPECT_EQ(byte_of_char(0x144), -1);
  EXPECT_EQ(to_raw_bytes("Ġé"), " \xE9");
  EXPECT_EQ(to_raw_bytes("日"), std::nullopt);
}

TEST(TokenTable, FindsWhatWasSet) {
  TokenTable table;
  EXPECT_EQ(table.find("a"), -1);
  EXPECT_EQ(table.find(""), -1);
  for (int i = 0; i < 5000; ++i) table.set(cat("token", i), i);
  table.set("token7", 70000);
  table.set("", 9);
  EXPECT_EQ(table.size(), 5001U);
  EXPECT_EQ(table.longest_bytes(), 9U);
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(table.find(cat("token", i)), i == 7 ? 70000 : i);
  EXPECT_EQ(table.find("token5000"), -1);
  EXPECT_EQ(table.find("token10000"), -1);
  EXPECT_EQ(table.find(""), 9);
}

using Kind = TemplatePiece::Kind;

TEST(PostProcessor, PutsSpecialTokensAround) {
  PostProcessor p;
  p.single = {{Kind::kSpecial, {1, 9}, 0}, {Kind::kFirst, {}, 2}};
  p.pair = {{Kind::kSecond, {}, 1}, {Kind::kSpecial, {2}, 3}, {Kind::kFirst, {}, 0}};
  const Encoding first = {
      .ids = {5, 6}, .offsets = {{0, 1}, {1, 2}}, .type_ids = {}, .special_mask = {}};
  const Encoding second = {.ids = {7}, .offsets = {{3, 4}}, .type_ids = {}, .special_mask = {}};
  const Encoding one = p.apply(first, nullptr, true);
  EXPECT_EQ(one.ids, (std::vector<std::int32_t>{1, 9, 5, 6}));
  EXPECT_EQ(one.offsets, (std::vector<Offset>{{0, 0}, {0, 0}, {0, 1}, {1, 2}}));
  EXPECT_EQ(one.type_ids, (std::vector<std::uint8_t>{0, 0, 2, 2}));
  EXPECT_EQ(one.special_mask, (std::vector<std::uint8_t>{1, 1, 0, 0}));
  const Encoding two = p.apply(first, &second, true);
  EXPECT_EQ(two.ids, (std::vector<std::int32_t>{7, 2, 5, 6}));
  EXPECT_EQ(two.type_ids, (std::vector<std::uint8_t>{1, 3, 0, 0}));
  const Encoding plain = p.apply(first, nullptr, false);
  EXPECT_EQ(plain.ids, first.ids);
  EXPECT_EQ(plain.type_ids, (std::vector<std::uint8_t>{2, 2}));
  EXPECT_EQ(plain.special_mask, (std::vector<std::uint8_t>{0, 0}));
}

std::vector<Offset> trimmed(bool add_prefix_space, std::vector<Offset> offsets,
                            const std::vector<TokenBlanks>& blanks) {
  OffsetTrim{add_prefix_space}.apply(offsets, [&](std::size_t i) { return blanks[i]; });
  return offsets;
}

TEST(OffsetTrim, LeavesBlanksOut) {
  EXPECT_EQ(trimmed(false, {{0, 3}, {3, 8}}, {{1, 0}, {2, 1}}),
            (std::vector<Offset>{{1, 3}, {5, 7}}));
  EXPECT_EQ(trimmed(true, {{0, 3}, {3, 8}}, {{1, 0}, {1, 0}}),
            (std::vector<Offset>{{0, 3}, {4, 8}}))
      << "the first blank was added";
  EXPECT_EQ(trimmed(true, {{0, 3}}, {{2, 0}}), (std::vector<Offset>{{2, 3}}));
  EXPECT_EQ(trimmed(false, {{4, 6}}, {{2, 2}}), (std::vector<Offset>{{6, 6}})) << "all blanks";
}

std::string decoded(const Decoder& decoder, std::vector<std::string_view> tokens) {
  return decode_tokens(decoder, tokens);
}

TEST(Decoder, WordPiece) {
  EXPECT_EQ(decoded(WordPieceDecoder{}, {"un", "##aff", "##able", "day", "!"}), "unaffable day!");
  EXPECT_EQ(decoded(WordPieceDecoder{}, {"i", "'", "m", ",", "do", "n't", "'s"}), "i ' m, don't's");
  EXPECT_EQ(decoded(WordPieceDecoder{.prefix = "@", .cleanup = false}, {"a", "@b", "."}), "ab .");
}

TEST(Decoder, ByteLevelMendsBrokenCharacters) {
  EXPECT_EQ(decoded(ByteLevelDecoder{}, {"Hello", "Ġw", "Ã¶r", "ld"}), "Hello wörld");
  EXPECT_EQ(decoded(ByteLevelDecoder{}, {"Ã", "¶", "Ã"}), "ö\uFFFD");
  EXPECT_EQ(decoded(ByteLevelDecoder{}, {"日"}), "日") << "not of the alphabet: as it is";
}

TEST(Decoder, NoneJoinsWithBlanks) {
  EXPECT_EQ(decoded(JoinDecoder{}, {"a", "##b"}), "a ##b");
}

}  // namespace
}  // namespace trireme::text
