#include "trireme/text/code_points.h"

#include <unicode/uchar.h>
#include <unicode/ustring.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <span>

#include "trireme/text/unicode_age.h"

namespace trireme::text {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

// Characters of Unicode 15.1 and 16, which ICU 72 does not know.
constexpr Range kNewLetters[] = {
    {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3},
    {0x10D4A, 0x10D65}, {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x11380, 0x11389},
    {0x1138B, 0x1138B}, {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113B7},
    {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0}, {0x13460, 0x143FA},
    {0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED},
    {0x1E5F0, 0x1E5F0}, {0x2EBF0, 0x2EE5D}};
constexpr Range kNewNumbers[] = {{0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9},
                                 {0x16130, 0x16139}, {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9},
                                 {0x1E5F1, 0x1E5FA}};
constexpr Range kNewWord[] = {
    {0x897, 0x897},     {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},
    {0x105C0, 0x105F3}, {0x10D40, 0x10D65}, {0x10D69, 0x10D6D}, {0x10D6F, 0x10D85},
    {0x10EC2, 0x10EC4}, {0x10EFC, 0x10EFC}, {0x11380, 0x11389}, {0x1138B, 0x1138B},
    {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113C0}, {0x113C2, 0x113C2},
    {0x113C5, 0x113C5}, {0x113C7, 0x113CA}, {0x113CC, 0x113D3}, {0x113E1, 0x113E2},
    {0x116D0, 0x116E3}, {0x11BC0, 0x11BE0}, {0x11BF0, 0x11BF9}, {0x11F5A, 0x11F5A},
    {0x13460, 0x143FA}, {0x16100, 0x16139}, {0x16D40, 0x16D6C}, {0x16D70, 0x16D79},
    {0x18CFF, 0x18CFF}, {0x1CCF0, 0x1CCF9}, {0x1E5D0, 0x1E5FA}, {0x2EBF0, 0x2EE5D}};
constexpr Range kBertCjk[] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},
                              {0x20000, 0x2A6DF}, {0x2A700, 0x2B81F}, {0x2B920, 0x2CEAF},
                              {0x2F800, 0x2FA1F}};

// Upper case letters of Unicode 16 and 17: first to last, and the distance to the lower case.
struct CaseRange {
  Range upper;
  std::int32_t distance;
};
constexpr CaseRange kNewCase[] = {{{0x1C89, 0x1C89}, 1},      {{0xA7CB, 0xA7CB}, 0x264 - 0xA7CB},
                                  {{0xA7CC, 0xA7CC}, 1},      {{0xA7CE, 0xA7CE}, 1},
                                  {{0xA7D2, 0xA7D2}, 1},      {{0xA7D4, 0xA7D4}, 1},
                                  {{0xA7DA, 0xA7DA}, 1},      {{0xA7DC, 0xA7DC}, 0x19B - 0xA7DC},
                                  {{0x10D50, 0x10D65}, 0x20}, {{0x16EA0, 0x16EB8}, 0x1B}};

bool contains(std::span<const Range> ranges, char32_t c) {
  const auto after = std::ranges::upper_bound(ranges, c, {}, &Range::first);
  return after != ranges.begin() && c <= std::prev(after)->last;
}

// The general category is one of the mask's.
bool in_category(char32_t c, std::uint32_t mask) {
  return (U_MASK(u_charType(static_cast<UChar32>(c))) & mask) != 0;
}

// The same, for a character that the version had.
bool was_in_category(char32_t c, std::uint32_t mask, int version) {
  return in_category(c, mask) && is_known_in(c, version);
}

}  // namespace

bool is_white_space(char32_t c) {
  return u_isUWhiteSpace(static_cast<UChar32>(c)) != 0;
}

bool is_letter(char32_t c) {
  return was_in_category(c, U_GC_L_MASK, 16) || contains(kNewLetters, c);
}

bool is_number(char32_t c) {
  return was_in_category(c, U_GC_N_MASK, 16) || contains(kNewNumbers, c);
}

bool is_word(char32_t c) {
  const auto u = static_cast<UChar32>(c);
  const bool word = in_category(c, U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK) ||
                    u_hasBinaryProperty(u, UCHAR_ALPHABETIC) != 0 ||
                    u_hasBinaryProperty(u, UCHAR_JOIN_CONTROL) != 0;
  return (word && is_known_in(c, 16)) || contains(kNewWord, c);
}

bool is_bert_control(char32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  return c == 0xFFFD || was_in_category(c, U_GC_CC_MASK | U_GC_CF_MASK | U_GC_CO_MASK, 8);
}

bool is_bert_punctuation(char32_t c) {
  if (c < 0x80) return in_category(c, U_GC_P_MASK | U_GC_S_MASK);
  // In Unicode 8 these two were punctuation.
  return was_in_category(c, U_GC_P_MASK, 8) || c == 0x166D || c == 0x111C9;
}

bool is_bert_cjk(char32_t c) {
  return contains(kBertCjk, c);
}

bool is_nonspacing_mark(char32_t c) {
  // These changed category after Unicode 8.
  if (c == 0x1734) return true;
  if (c == 0x1885 || c == 0x1886 || c == 0xA9BD || c == 0x111C9) return false;
  return was_in_category(c, U_GC_MN_MASK, 8);
}

bool is_combining_mark(char32_t c) {
  // These changed category after Unicode 9.
  if (c == 0x1CF2 || c == 0x1CF3) return true;
  if (c == 0x111C9) return false;
  return was_in_category(c, U_GC_M_MASK, 9);
}

void append_lower(std::u32string& out, char32_t c) {
  for (const CaseRange& range : kNewCase) {
    if (range.upper.first <= c && c <= range.upper.last) {
      out += static_cast<char32_t>(static_cast<std::int32_t>(c) + range.distance);
      return;
    }
  }
  std::array<UChar, 2> upper;
  std::int32_t upper_size = 0;
  U16_APPEND_UNSAFE(upper, upper_size, static_cast<UChar32>(c));
  std::array<UChar, 8> lower;  // the longest lower case has 3 units
  UErrorCode status = U_ZERO_ERROR;
  const std::int32_t lower_size =
      u_strToLower(lower.data(), lower.size(), upper.data(), upper_size, "", &status);
  for (std::int32_t i = 0; i < lower_size;) {
    UChar32 next = 0;
    U16_NEXT_UNSAFE(lower, i, next);
    out += static_cast<char32_t>(next);
  }
}

}  // namespace trireme::text
