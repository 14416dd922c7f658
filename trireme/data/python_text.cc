#include "trireme/data/python_text.h"

#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>
#include <unicode/utf8.h>

namespace trireme::data {
namespace {

// str.isspace(): category Zs, or bidirectional type WS, B or S.
bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
         c == 0x205F || c == 0x3000;
}

// string.punctuation
bool is_punctuation(char c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
         (c >= '{' && c <= '~');
}

// The code point at byte `at`, which moves behind it; U+FFFD for what is not UTF-8.
char32_t next_code_point(std::string_view text, size_t& at) {
  UChar32 c = 0;
  U8_NEXT_OR_FFFD(reinterpret_cast<const uint8_t*>(text.data()), at, text.size(), c);
  return static_cast<char32_t>(c);
}

bool is_article(std::string_view word) {
  return word == "a" || word == "an" || word == "the";
}

// re.sub(r"\b(a|an|the)\b", " ", text): the runs of word characters that are an article.
std::string without_articles(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  size_t word = 0;  // where the present run of word characters began
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    if (is_word_character(next_code_point(text, at))) continue;
    const std::string_view run = text.substr(word, begin - word);
    out += is_article(run) ? " " : run;
    out += text.substr(begin, at - begin);
    word = at;
  }
  const std::string_view run = text.substr(word);
  out += is_article(run) ? " " : run;
  return out;
}

}  // namespace

std::string python_lower(std::string_view text) {
  std::string out;
  icu::UnicodeString::fromUTF8({text.data(), static_cast<int32_t>(text.size())})
      .toLower(icu::Locale::getRoot())
      .toUTF8String(out);
  return out;
}

size_t white_space_at(std::string_view text, size_t at) {
  if (at >= text.size()) return 0;
  size_t end = at;
  return is_space(next_code_point(text, end)) ? end - at : 0;
}

std::string_view python_lstrip(std::string_view text) {
  size_t at = 0;
  while (const size_t space = white_space_at(text, at)) at += space;
  return text.substr(at);
}

std::vector<std::string_view> python_split(std::string_view text) {
  std::vector<std::string_view> out;
  size_t word = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    if (!is_space(next_code_point(text, at))) continue;
    if (begin > word) out.push_back(text.substr(word, begin - word));
    word = at;
  }
  if (text.size() > word) out.push_back(text.substr(word));
  return out;
}

bool is_word_character(char32_t c) {
  const auto u = static_cast<UChar32>(c);
  return c == U'_' || u_isalpha(u) || u_getIntPropertyValue(u, UCHAR_NUMERIC_TYPE) != U_NT_NONE;
}

std::string normalize_answer(std::string_view text) {
  std::string bare;
  for (const char c : python_lower(text)) {
    if (!is_punctuation(c)) bare += c;
  }
  std::string out;
  const std::string plain = without_articles(bare);
  for (const std::string_view word : python_split(plain)) {
    if (!out.empty()) out += ' ';
    out += word;
  }
  return out;
}

}  // namespace trireme::data
