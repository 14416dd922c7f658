// What happens to a text before it is split: the `normalizer` of a tokenizer.json.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "trireme/text/bert_normalizer.h"
#include "trireme/text/normal_forms.h"
#include "trireme/text/sourced_text.h"

namespace trireme::text {

struct LowercaseStep {};
struct StripAccentsStep {};  // takes combining marks out; wants decomposed text
struct StripStep {           // white space off the ends
  bool left;
  bool right;
};
struct ReplaceStep {       // every occurrence, from left to right, without overlap
  std::u32string pattern;  // not empty
  std::u32string content;
};
using NormalizerStep = std::variant<BertNormalizerOptions, NormalForm, LowercaseStep,
                                    StripAccentsStep, StripStep, ReplaceStep>;

// Steps one after another; none leaves the text as it is.
class Normalizer {
 public:
  Normalizer() = default;
  explicit Normalizer(std::vector<NormalizerStep> steps);

  // A well-formed text whose first character is code point number `first`.
  void apply(std::string_view text, std::uint32_t first, SourcedText& out) const;
  // The normalised text alone.
  std::string apply(std::string_view text) const;

 private:
  std::vector<NormalizerStep> steps_;
  const BertNormalizer* bert_ = nullptr;  // when that is the only step
};

}  // namespace trireme::text
