#include "trireme/data/blend.h"

#include <charconv>
#include <cmath>

#include "trireme/base/error.h"

namespace trireme::data {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

BlendPart parse_part(std::string_view text, const std::string& where) {
  const size_t colon = text.rfind(':');
  BlendPart part{std::string(trimmed(text.substr(0, colon)))};
  if (part.prefix.empty()) throw input_error(where, ": an empty name in a list of corpora");
  if (colon == std::string_view::npos) return part;
  const std::string_view number = trimmed(text.substr(colon + 1));
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), part.weight);
  if (error != std::errc() || end != number.data() + number.size() || !(part.weight > 0) ||
      !std::isfinite(part.weight)) {
    throw input_error(where, ": '", number, "' behind ", part.prefix,
                      ": is not a weight (a number above 0)");
  }
  return part;
}

}  // namespace

std::vector<BlendPart> parse_blend(std::string_view text, const std::string& where) {
  std::vector<BlendPart> parts;
  for (;;) {
    const size_t comma = text.find(',');
    parts.push_back(parse_part(trimmed(text.substr(0, comma)), where));
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  for (const BlendPart& part : parts) {
    if ((part.weight > 0) != (parts.front().weight > 0)) {
      throw input_error(where, ": weights for some corpora only; give ", part.prefix, " and ",
                        parts.front().prefix, " each a weight, or none");
    }
  }
  return parts;
}

}  // namespace trireme::data
