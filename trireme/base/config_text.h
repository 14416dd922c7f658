// The textual side of configuration: TOML in, values out. Used by Schema alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trireme/base/config.h"

namespace trireme {

// One thing that a TOML text says, in the order of its lines. Values of kinds that no key can have
// (dates, arrays of numbers) come without a value, `described` alone.
struct TomlEntry {
  std::string key;       // dotted, from the root
  std::size_t line = 0;  // of the key
  bool is_table =
      false;  // a table header or inline table; its members follow as entries of their own
  std::optional<ConfigValue> value;  // an empty array is an empty list of strings
  std::string described;             // "the string \"abc\"", "an array", for messages
};

// toml++ behind it. Wrong syntax is an input_error "NAME:LINE:COLUMN: ...", a key of more than 64
// parts one too.
std::vector<TomlEntry> parse_toml(std::string_view text, const std::string& name);

// The value as the type that `like` has, or nothing: an integer may stand where a double is wanted,
// nothing else.
std::optional<ConfigValue> converted(const std::optional<ConfigValue>& value,
                                     const ConfigValue& like);

// The right side of --set for a key of the type that `like` has.
std::optional<ConfigValue> parse_set_value(std::string_view text, const ConfigValue& like);

// As TOML: 3, 0.5, true, "text", ["a", "b"]. Doubles read back to the same bits.
std::string config_text(const ConfigValue& value);

// "an integer", "a number", "true or false", "a string", "a list of strings"
std::string type_name(const ConfigValue& value);

std::string_view trimmed(std::string_view text);

}  // namespace trireme
