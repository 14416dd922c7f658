// The only file that includes toml++.
//
// toml++ 3.3 asserts of a table's header that a key follows "[", and then reports the "[*]" that
// breaks the assertion as it should; where assertions are on it would end the program first.
#include <toml++/impl/preprocessor.h>
#undef TOML_ASSERT_ASSUME
#define TOML_ASSERT_ASSUME(expr) static_assert(true)
#include <toml++/toml.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trireme/base/config_text.h"
#include "trireme/base/error.h"

namespace trireme {
namespace {

constexpr std::size_t kMaxKeyParts = 64;

// The place behind the string that starts at `at`: basic or literal, of one line or of several. A
// string that does not end goes to the end of its line (of the text).
std::size_t skip_string(std::string_view text, std::size_t at) {
  const char quote = text[at];
  const std::string triple(3, quote);
  const bool many_lines = text.substr(at, 3) == triple;
  const std::string end = many_lines ? triple : std::string(1, quote);
  for (at += end.size(); at < text.size(); ++at) {
    if (text.substr(at, end.size()) == end) return at + end.size();
    if (text[at] == '\n' && !many_lines) return at;
    if (text[at] == '\\' && quote == '"') ++at;
  }
  return text.size();
}

// toml++ follows dotted keys by recursion without a limit; a text with a key of too many parts is
// refused here.
void check_key_depth(std::string_view text, const std::string& name) {
  std::size_t line = 1;
  std::size_t dots = 0;  // since the last character that ends a key
  for (std::size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == '"' || c == '\'') {
      const std::size_t behind = skip_string(text, at);
      const std::string_view skipped = text.substr(at, behind - at);
      line += static_cast<std::size_t>(std::count(skipped.begin(), skipped.end(), '\n'));
      at = behind;
      continue;
    }
    if (c == '#') {
      at = std::min(text.find('\n', at), text.size());
      continue;
    }
    if (c == '.' && ++dots >= kMaxKeyParts) {
      throw input_error(name, ":", line, ": a key has more than ", kMaxKeyParts, " parts");
    }
    if (std::string_view("=[]{},\n").find(c) != std::string_view::npos) dots = 0;
    if (c == '\n') ++line;
    ++at;
  }
}

std::optional<std::vector<std::string>> string_list(const toml::array& array) {
  std::vector<std::string> out;
  for (const toml::node& element : array) {
    const auto* text = element.as_string();
    if (text == nullptr) return std::nullopt;
    out.push_back(text->get());
  }
  return out;
}

// Value and description of a leaf.
void read_leaf(const toml::node& node, TomlEntry& entry) {
  constexpr std::size_t kMaxShown = 40;
  if (const auto* integer = node.as_integer()) {
    entry.value = integer->get();
  } else if (const auto* number = node.as_floating_point()) {
    entry.value = number->get();
  } else if (const auto* boolean = node.as_boolean()) {
    entry.value = boolean->get();
  } else if (const auto* text = node.as_string()) {
    entry.value = text->get();
    entry.described = "a string";
    if (text->get().size() <= kMaxShown) entry.described = "the string " + config_text(text->get());
    return;
  } else if (const auto* array = node.as_array()) {
    if (auto list = string_list(*array)) entry.value = std::move(*list);
    entry.described = "an array";
    return;
  } else {
    entry.described = "a date or time";
    return;
  }
  entry.described = config_text(*entry.value);
}

void collect(const toml::table& table, const std::string& prefix, std::vector<TomlEntry>& out) {
  for (const auto& [key, node] : table) {
    TomlEntry entry;
    entry.key = prefix + std::string(key.str());
    entry.line = key.source().begin.line;
    const std::string inner = entry.key + ".";
    if (const toml::table* inner_table = node.as_table()) {
      entry.is_table = true;
      out.push_back(std::move(entry));
      collect(*inner_table, inner, out);
    } else {
      read_leaf(node, entry);
      out.push_back(std::move(entry));
    }
  }
}

}  // namespace

std::vector<TomlEntry> parse_toml(std::string_view text, const std::string& name) {
  check_key_depth(text, name);
  std::vector<TomlEntry> out;
  try {
    collect(toml::parse(text), "", out);
  } catch (const toml::parse_error& error) {
    const auto& at = error.source().begin;
    throw input_error(name, ":", at.line, ":", at.column,
                      ": not valid TOML: ", error.description());
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const TomlEntry& a, const TomlEntry& b) { return a.line < b.line; });
  return out;
}

}  // namespace trireme
