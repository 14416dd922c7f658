#include "trireme/base/utf8.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "trireme/base/random.h"

namespace trireme {
namespace {

using namespace std::string_literals;

constexpr char32_t kBad = kReplacementChar;

// The code point of exactly these bytes, by the definition of UTF-8: the shortest form of a scalar
// value.
std::optional<char32_t> strict(const std::string& bytes) {
  const auto first = static_cast<unsigned char>(bytes[0]);
  std::size_t length = 0;
  char32_t value = 0;
  if (first < 0x80) {
    length = 1, value = first;
  } else if ((first >> 5) == 0b110) {
    length = 2, value = first & 0x1F;
  } else if ((first >> 4) == 0b1110) {
    length = 3, value = first & 0x0F;
  } else if ((first >> 3) == 0b11110) {
    length = 4, value = first & 0x07;
  }
  if (bytes.size() != length) return std::nullopt;
  for (std::size_t i = 1; i < length; ++i) {
    const auto next = static_cast<unsigned char>(bytes[i]);
    if ((next >> 6) != 0b10) return std::nullopt;
    value = value * 64 + (next & 0x3F);
  }
  constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kSmallest[length] || value > 0x10FFFF) return std::nullopt;
  if (value >= 0xD800 && value <= 0xDFFF) return std::nullopt;
  return value;
}

// True when some continuation makes these bytes well-formed. Trying the ends of every range is
// enough: whether a value is allowed is decided by the second byte.
bool can_be_completed(const std::string& prefix) {
  if (prefix.size() > 4) return false;
  if (strict(prefix)) return true;
  if (prefix.size() == 4) return false;
  for (const int next : {0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF}) {
    if (can_be_completed(prefix + static_cast<char>(next))) return true;
  }
  return false;
}

// "Maximal subpart" word for word, without tables: the longest prefix that could still become a
// character, or one byte. Independent of the implementation, and slow.
std::u32string slow_decode(std::string text) {
  std::u32string out;
  while (!text.empty()) {
    std::size_t used = 1;
    while (used < text.size() && !strict(text.substr(0, used)) &&
           can_be_completed(text.substr(0, used + 1))) {
      ++used;
    }
    out += strict(text.substr(0, used)).value_or(kBad);
    text.erase(0, used);
  }
  return out;
}

TEST(Utf8, DecodesWellFormedText) {
  EXPECT_EQ(decode_utf8(""), U"");
  EXPECT_EQ(decode_utf8("abc"), U"abc");
  EXPECT_EQ(decode_utf8("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"), U"\u00E9\u20AC\U0001F600");
  EXPECT_EQ(decode_utf8("a\0b"s), U"a\0b"s);
  EXPECT_EQ(decode_utf8("\xEF\xBB\xBFx"), U"\uFEFFx");  // a byte order mark is a character
}

// What Python 3.11 gives for bytes.decode("utf-8", "replace").
TEST(Utf8, ReplacesAsPythonDoes) {
  const std::pair<std::string, std::u32string> cases[] = {
      {"\x80", {kBad}},
      {"\xC0\xAF", {kBad, kBad}},
      {"\xC1\x81", {kBad, kBad}},
      {"\xC3", {kBad}},
      {"\xC3(", {kBad, U'('}},
      {"\xE0\x80\x80", {kBad, kBad, kBad}},
      {"\xE2\x82", {kBad}},
      {"\xE2\x82z", {kBad, U'z'}},
      {"\xE2\x28\xA1", {kBad, U'(', kBad}},
      {"\xED\xA0\x80", {kBad, kBad, kBad}},
      {"\xED\x9F\xBF", {0xD7FF}},
      {"\xEF\xBF\xBD", {kBad}},
      {"\xF0\x9F\x98", {kBad}},
      {"\xF0\x9F\x98\xF0\x9F\x98\x80", {kBad, 0x1F600}},
      {"\xF0\x80\x80\x80", {kBad, kBad, kBad, kBad}},
      {"\xF4\x90\x80\x80", {kBad, kBad, kBad, kBad}},
      {"\xF4\x8F\xBF\xBF", {0x10FFFF}},
      {"\xF5\x80", {kBad, kBad}},
      {"\xFF\xFE", {kBad, kBad}},
      {"a\xF1\x80\x80\xE1\x80\xC2"
       "b",
       {U'a', kBad, kBad, kBad, U'b'}},
  };
  for (const auto& [bytes, expected] : cases) {
    EXPECT_EQ(decode_utf8(bytes), expected) << testing::PrintToString(bytes);
    EXPECT_EQ(slow_decode(bytes), expected) << testing::PrintToString(bytes);
  }
}

TEST(Utf8, AgreesWithTheDefinitionOnAllStringsOfEdgeBytes) {
  const std::string edges =
      "A\x7F\x80\x8F\x90\x9F\xA0\xBF\xC0\xC1\xC2\xDF\xE0\xE1\xED\xEE\xF0\xF1\xF4\xF5\xFF";
  const std::size_t n = edges.size();
  for (std::size_t i = 0; i < n * n * n * n; ++i) {
    const std::string text = {edges[i % n], edges[i / n % n], edges[i / n / n % n],
                              edges[i / n / n / n]};
    ASSERT_EQ(decode_utf8(text), slow_decode(text)) << testing::PrintToString(text);
  }
}

TEST(Utf8, AgreesWithTheDefinitionOnRandomBytes) {
  for (std::uint64_t i = 0; i < 20000; ++i) {
    std::string text;
    const std::uint64_t length = uniform_below(24, 1, i, 0);
    for (std::uint64_t k = 0; k < length; ++k) {
      const std::uint64_t bits = random_bits(1, i, k + 1);
      // Half of the bytes from the upper half, so that sequences form.
      text += static_cast<char>(bits % 2 == 0 ? 0x80 + (bits >> 8) % 128 : (bits >> 8) % 256);
    }
    const std::u32string decoded = decode_utf8(text);
    ASSERT_EQ(decoded, slow_decode(text)) << testing::PrintToString(text);
    ASSERT_EQ(count_code_points(text), decoded.size());
    ASSERT_EQ(decode_utf8(clean_utf8(text)), decoded);
    ASSERT_TRUE(is_valid_utf8(clean_utf8(text)));
    ASSERT_EQ(is_valid_utf8(text), clean_utf8(text) == text) << testing::PrintToString(text);
  }
}

TEST(Utf8, EveryScalarValueSurvives) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    std::string bytes;
    append_utf8(bytes, c);
    const Utf8Char back = decode_utf8_at(bytes, 0);
    ASSERT_EQ(back.code_point, c);
    ASSERT_EQ(back.bytes, bytes.size());
    ASSERT_TRUE(back.valid);
    ASSERT_EQ(strict(bytes), c);
  }
}

TEST(Utf8, WhatIsNoScalarValueIsWrittenAsReplacement) {
  for (const char32_t c : {0xD800U, 0xDFFFU, 0x110000U, 0xFFFFFFFFU}) {
    EXPECT_EQ(encode_utf8(std::u32string(1, c)), "\xEF\xBF\xBD");
  }
}

TEST(Utf8, TellsARealReplacementCharacterFromAFault) {
  EXPECT_TRUE(decode_utf8_at("\xEF\xBF\xBD", 0).valid);
  EXPECT_FALSE(decode_utf8_at("\xEF\xBF", 0).valid);
  EXPECT_EQ(decode_utf8_at("\xEF\xBF", 0).bytes, 2);
  EXPECT_EQ(decode_utf8_at("x\xC3\xA9", 1).code_point, 0xE9U);
}

}  // namespace
}  // namespace trireme
