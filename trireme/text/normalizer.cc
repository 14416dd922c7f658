#include "trireme/text/normalizer.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "trireme/text/code_points.h"

namespace trireme::text {
namespace {

void strip(SourcedChars& chars, const StripStep& step) {
  const auto is_text = [](SourcedChar c) { return !is_white_space(c.c); };
  if (step.right) {
    const auto last = std::find_if(chars.rbegin(), chars.rend(), is_text);
    chars.erase(last.base(), chars.end());
  }
  if (step.left) chars.erase(chars.begin(), std::ranges::find_if(chars, is_text));
}

// What is put in comes from the last character replaced.
void replace(SourcedChars& chars, const ReplaceStep& step) {
  const auto same = [](SourcedChar a, char32_t b) { return a.c == b; };
  SourcedChars result;
  auto at = chars.begin();
  while (true) {
    const auto found = std::search(at, chars.end(), step.pattern.begin(), step.pattern.end(), same);
    result.insert(result.end(), at, found);
    if (found == chars.end()) break;
    at = found + static_cast<std::ptrdiff_t>(step.pattern.size());
    for (const char32_t c : step.content) result.push_back({c, std::prev(at)->source});
  }
  chars = std::move(result);
}

struct Apply {
  SourcedChars& chars;
  void operator()(const BertNormalizerOptions& bert) { apply_bert_steps(bert, chars); }
  void operator()(NormalForm form) { normalize(chars, form); }
  void operator()(LowercaseStep) { lower(chars); }
  void operator()(StripAccentsStep) {
    std::erase_if(chars, [](SourcedChar c) { return is_combining_mark(c.c); });
  }
  void operator()(const StripStep& step) { strip(chars, step); }
  void operator()(const ReplaceStep& step) { replace(chars, step); }
};

// True when the steps change no ASCII text.
bool keep_ascii(const std::vector<NormalizerStep>& steps) {
  return std::ranges::all_of(
      steps, [](const NormalizerStep& step) { return std::holds_alternative<NormalForm>(step); });
}

bool is_ascii(std::string_view text) {
  return std::ranges::none_of(text, [](char c) { return static_cast<signed char>(c) < 0; });
}

}  // namespace

Normalizer::Normalizer(std::vector<NormalizerStep> steps) : steps_(std::move(steps)) {
  if (steps_.size() != 1) return;
  if (const auto* bert = std::get_if<BertNormalizerOptions>(steps_.data())) {
    bert_ = &BertNormalizer::of(*bert);
  }
}

void Normalizer::apply(std::string_view text, std::uint32_t first, SourcedText& out) const {
  if (bert_ != nullptr) return bert_->apply(text, first, out);
  if (steps_.empty() || (keep_ascii(steps_) && is_ascii(text))) {
    return to_sourced(text, first, out);
  }
  SourcedChars chars = to_sourced_chars(text, first);
  for (const NormalizerStep& step : steps_) std::visit(Apply{chars}, step);
  out = from_chars(chars);
}

std::string Normalizer::apply(std::string_view text) const {
  SourcedText result;
  apply(text, 0, result);
  return std::move(result.bytes);
}

}  // namespace trireme::text
