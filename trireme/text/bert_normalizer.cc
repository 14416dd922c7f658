#include "trireme/text/bert_normalizer.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <mutex>
#include <utility>

#include "trireme/base/utf8.h"
#include "trireme/text/code_points.h"
#include "trireme/text/normal_forms.h"

namespace trireme::text {

const BertNormalizer& BertNormalizer::of(const BertNormalizerOptions& options) {
  struct Made {
    std::once_flag once;
    std::unique_ptr<const BertNormalizer> normalizer;
  };
  static std::array<Made, 16> all;
  const int number = (options.clean_text ? 1 : 0) | (options.handle_chinese_chars ? 2 : 0) |
                     (options.strips_accents() ? 4 : 0) | (options.lowercase ? 8 : 0);
  Made& made = all[number];
  std::call_once(made.once, [&] { made.normalizer.reset(new BertNormalizer(options)); });
  return *made.normalizer;
}

BertNormalizer::BertNormalizer(const BertNormalizerOptions& options)
    : options_(options), table_([this](char32_t c) { return outcome(c); }) {
  for (char32_t c = 0; c < 0x80; ++c) {
    const std::uint32_t o = table_[c];
    if (o == 0) {
      ascii_[c] = {static_cast<char>(c), 1};
    } else {
      const std::uint32_t packed = o - kFirstPacked;
      const bool kept = (packed & 31) != 0;
      ascii_[c] = {kept ? pool_[packed >> 5] : '\0', static_cast<std::uint8_t>(kept)};
    }
  }
}

std::uint32_t BertNormalizer::outcome(char32_t c) {
  if (options_.strips_accents()) {
    std::u32string decomposition;
    append_decomposition(decomposition, c, /*compatibility=*/false);
    const bool reorders = std::ranges::any_of(decomposition, [](char32_t d) {
      return combining_class(d) != 0 && !is_nonspacing_mark(d);
    });
    if (reorders) return kReorders;
  }
  SourcedChars chars = {{c, 0}};
  apply_bert_steps(options_, chars);
  if (chars.size() == 1 && chars[0].c == c) return 0;
  const std::string bytes = from_chars(chars).bytes;
  std::string unchanged;
  append_utf8(unchanged, c);
  most_growth_ = std::max(most_growth_, (bytes.size() + unchanged.size() - 1) / unchanged.size());
  if (chars.size() == 3 && chars[0].c == ' ' && chars[1].c == c && chars[2].c == ' ') {
    return kPadded;
  }
  const auto packed = static_cast<std::uint32_t>(pool_.size() << 5 | bytes.size());
  pool_ += bytes;
  return packed + kFirstPacked;
}

void BertNormalizer::apply(std::string_view text, std::uint32_t first, SourcedText& out) const {
  const auto ascii = static_cast<std::size_t>(
      std::ranges::count_if(text, [](char c) { return static_cast<signed char>(c) >= 0; }));
  const std::size_t bound = ascii + (text.size() - ascii) * most_growth_;
  out.bytes.resize(bound);
  out.source.resize(bound);
  char* const bytes = out.bytes.data();
  std::uint32_t* const source = out.source.data();
  std::size_t size = 0;
  const auto append = [&](const char* from, std::size_t count, std::uint32_t number) {
    std::memcpy(bytes + size, from, count);
    std::fill_n(source + size, count, number);
    size += count;
  };

  std::uint32_t number = first;
  for (std::size_t at = 0; at < text.size(); ++number) {
    const char byte = text[at];
    if (static_cast<signed char>(byte) >= 0) {
      const Ascii a = ascii_[static_cast<unsigned char>(byte)];
      bytes[size] = a.out;
      source[size] = number;
      size += a.kept;
      ++at;
      continue;
    }
    const SizedCodePoint c = decode_valid_utf8(text.data() + at);
    const std::uint32_t o = table_[c.code_point];
    if (o == 0) {
      append(text.data() + at, c.bytes, number);
    } else if (o == kPadded) {
      append(" ", 1, number);
      append(text.data() + at, c.bytes, number);
      append(" ", 1, number);
    } else if (o == kReorders) {
      SourcedChars chars = to_sourced_chars(text, first);
      apply_bert_steps(options_, chars);
      out = from_chars(chars);
      return;
    } else {
      const std::uint32_t packed = o - kFirstPacked;
      append(pool_.data() + (packed >> 5), packed & 31, number);
    }
    at += c.bytes;
  }
  out.bytes.resize(size);
  out.source.resize(size);
}

void apply_bert_steps(const BertNormalizerOptions& options, SourcedChars& chars) {
  if (options.clean_text) {
    std::erase_if(chars, [](SourcedChar c) { return is_bert_control(c.c); });
    for (SourcedChar& c : chars) {
      if (is_white_space(c.c)) c.c = ' ';
    }
  }
  if (options.handle_chinese_chars) {
    SourcedChars padded;
    padded.reserve(chars.size());
    for (const SourcedChar c : chars) {
      const bool cjk = is_bert_cjk(c.c);
      if (cjk) padded.push_back({' ', c.source});
      padded.push_back(c);
      if (cjk) padded.push_back({' ', c.source});
    }
    chars = std::move(padded);
  }
  if (options.strips_accents()) {
    normalize(chars, NormalForm::kNfd);
    std::erase_if(chars, [](SourcedChar c) { return is_nonspacing_mark(c.c); });
  }
  if (options.lowercase) lower(chars);
}

}  // namespace trireme::text
