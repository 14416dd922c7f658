#include "trireme/text/splitters.h"

#include "trireme/text/code_points.h"

namespace trireme::text {

const CodePointTable<BertSplitter::Kind>& BertSplitter::kinds() {
  static const CodePointTable<Kind> table([](char32_t c) {
    if (is_white_space(c)) return Kind::kSpace;
    return is_bert_punctuation(c) ? Kind::kPunctuation : Kind::kLetter;
  });
  return table;
}

BertSplitter::BertSplitter() : table_(kinds()) {
  for (char32_t c = 0; c < 0x80; ++c) ascii_[c] = table_[c];
}

inline BertSplitter::Sized BertSplitter::kind_at(std::string_view text, std::size_t at) const {
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 0x80) return {ascii_[byte], 1};
  const SizedCodePoint c = decode_valid_utf8(text.data() + at);
  return {table_[c.code_point], c.bytes};
}

Span BertSplitter::next(std::string_view text, std::size_t at) const {
  while (at < text.size()) {
    const Sized first = kind_at(text, at);
    if (first.kind == Kind::kPunctuation) return {at, at + first.bytes};
    if (first.kind == Kind::kLetter) {
      std::size_t end = at + first.bytes;
      while (end < text.size()) {
        const Sized c = kind_at(text, end);
        if (c.kind != Kind::kLetter) break;
        end += c.bytes;
      }
      return {at, end};
    }
    at += first.bytes;
  }
  return {at, at};
}

const CodePointTable<Gpt2Splitter::Kind>& Gpt2Splitter::kinds() {
  static const CodePointTable<Kind> table([](char32_t c) {
    if (is_letter(c)) return Kind::kLetter;
    if (is_number(c)) return Kind::kNumber;
    return is_white_space(c) ? Kind::kSpace : Kind::kOther;
  });
  return table;
}

Gpt2Splitter::Gpt2Splitter() : table_(kinds()) {
  for (char32_t c = 0; c < 0x80; ++c) ascii_[c] = table_[c];
}

inline Gpt2Splitter::Sized Gpt2Splitter::kind_at(std::string_view text, std::size_t at) const {
  const auto byte = static_cast<unsigned char>(text[at]);
  if (byte < 0x80) return {ascii_[byte], 1};
  const SizedCodePoint c = decode_valid_utf8(text.data() + at);
  return {table_[c.code_point], c.bytes};
}

std::size_t Gpt2Splitter::run_end(std::string_view text, std::size_t at, Kind kind) const {
  while (at < text.size()) {
    const Sized c = kind_at(text, at);
    if (c.kind != kind) break;
    at += c.bytes;
  }
  return at;
}

std::size_t Gpt2Splitter::piece_end(std::string_view text, std::size_t at) const {
  if (text[at] == '\'') {
    const std::string_view rest = text.substr(at + 1, 2);
    for (const std::string_view ending : {"s", "t", "re", "ve", "m", "ll", "d"}) {
      if (rest.starts_with(ending)) return at + 1 + ending.size();
    }
  }
  Sized c = kind_at(text, at);
  std::size_t next = at + c.bytes;
  if (text[at] == ' ' && next < text.size()) {
    const Sized after = kind_at(text, next);
    if (after.kind != Kind::kSpace) {
      c = after;
      next += after.bytes;
    }
  }
  if (c.kind != Kind::kSpace) return run_end(text, next, c.kind);
  // White space: all of it at the end of the text, else all but its last character.
  std::size_t last = at;
  while (next < text.size()) {
    const Sized space = kind_at(text, next);
    if (space.kind != Kind::kSpace) return last > at ? last : next;
    last = next;
    next += space.bytes;
  }
  return next;
}

}  // namespace trireme::text
