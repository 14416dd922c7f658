#include "trireme/base/config_text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>

#include "trireme/base/error.h"
#include "trireme/base/utf8.h"

namespace trireme {
namespace {

std::string toml_string(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out = "\"";
  for (const char c : clean_utf8(text)) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string number_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[32];
  // 0.0003 and 5e-05: short numbers as people write them.
  const bool plain = value == 0 || (std::abs(value) >= 1e-4 && std::abs(value) < 1e15);
  const auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, format).ptr;
  std::string out(buffer, end);
  if (out.find_first_of(".e") == std::string::npos) out += ".0";
  return out;
}

template <class Number>
std::optional<Number> parsed_number(std::string_view text) {
  std::string digits;
  for (const char c : text) {
    if (c != '_') digits += c;
  }
  if (digits.starts_with('+')) digits.erase(0, 1);
  Number value{};
  const char* end = digits.data() + digits.size();
  const auto [at, error] = std::from_chars(digits.data(), end, value);
  if (error != std::errc() || at != end) return std::nullopt;
  return value;
}

// The value of "x = TEXT", or nothing when that is not TOML.
std::optional<ConfigValue> parse_toml_value(std::string_view text) {
  try {
    const auto entries = parse_toml(cat("x = ", text, "\n"), "");
    if (entries.size() == 1) return entries.front().value;
  } catch (const Error&) {
    // Not TOML: the caller says which type it wants.
  }
  return std::nullopt;
}

std::optional<ConfigValue> parse_set_list(std::string_view text) {
  if (text.starts_with('[')) return converted(parse_toml_value(text), std::vector<std::string>());
  std::vector<std::string> out;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    out.emplace_back(trimmed(text.substr(0, comma)));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return out;
}

}  // namespace

std::optional<ConfigValue> converted(const std::optional<ConfigValue>& value,
                                     const ConfigValue& like) {
  if (!value || value->index() == like.index()) return value;
  const bool wants_double = std::holds_alternative<double>(like);
  if (wants_double && std::holds_alternative<std::int64_t>(*value)) {
    return static_cast<double>(std::get<std::int64_t>(*value));
  }
  return std::nullopt;
}

std::optional<ConfigValue> parse_set_value(std::string_view text, const ConfigValue& like) {
  if (std::holds_alternative<std::int64_t>(like)) return parsed_number<std::int64_t>(text);
  if (std::holds_alternative<double>(like)) return parsed_number<double>(text);
  if (std::holds_alternative<bool>(like)) {
    if (text == "true") return true;
    if (text == "false") return false;
    return std::nullopt;
  }
  if (std::holds_alternative<std::vector<std::string>>(like)) return parse_set_list(text);
  const bool is_quoted = text.starts_with('"') || text.starts_with('\'');
  if (is_quoted) return converted(parse_toml_value(text), like);
  return std::string(text);
}

std::string config_text(const ConfigValue& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return std::to_string(*integer);
  if (const auto* number = std::get_if<double>(&value)) return number_text(*number);
  if (const auto* boolean = std::get_if<bool>(&value)) return *boolean ? "true" : "false";
  if (const auto* text = std::get_if<std::string>(&value)) return toml_string(*text);
  std::string out = "[";
  for (const std::string& text : std::get<std::vector<std::string>>(value)) {
    out += (out.size() > 1 ? ", " : "") + toml_string(text);
  }
  return out + "]";
}

std::string type_name(const ConfigValue& value) {
  static constexpr const char* kNames[] = {"an integer", "a number", "true or false", "a string",
                                           "a list of strings"};
  return kNames[value.index()];
}

std::string_view trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace trireme
