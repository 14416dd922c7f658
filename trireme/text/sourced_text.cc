#include "trireme/text/sourced_text.h"

#include <utility>

#include "trireme/base/utf8.h"
#include "trireme/text/code_point_table.h"
#include "trireme/text/code_points.h"

namespace trireme::text {

void to_sourced(std::string_view text, std::uint32_t first, SourcedText& out) {
  out.bytes.assign(text);
  out.source.resize(text.size());
  std::uint32_t next = first;  // number of the next code point
  for (std::size_t i = 0; i < text.size(); ++i) {
    next += is_continuation_byte(text[i]) ? 0 : 1;
    out.source[i] = next - 1;
  }
}

SourcedChars to_sourced_chars(std::string_view text, std::uint32_t first) {
  SourcedChars chars;
  chars.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    const SizedCodePoint c = decode_valid_utf8(text.data() + at);
    chars.push_back({c.code_point, first++});
    at += c.bytes;
  }
  return chars;
}

SourcedText from_chars(const SourcedChars& chars) {
  SourcedText text;
  text.bytes.reserve(chars.size());
  text.source.reserve(chars.size());
  for (const SourcedChar& c : chars) {
    append_utf8(text.bytes, c.c);
    text.source.resize(text.bytes.size(), c.source);
  }
  return text;
}

void lower(SourcedChars& chars) {
  SourcedChars result;
  result.reserve(chars.size());
  std::u32string lowered;
  for (const SourcedChar& c : chars) {
    lowered.clear();
    append_lower(lowered, c.c);
    for (const char32_t l : lowered) result.push_back({l, c.source});
  }
  chars = std::move(result);
}

}  // namespace trireme::text
