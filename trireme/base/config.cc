#include "trireme/base/config.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "trireme/base/config_text.h"
#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/text_distance.h"

namespace trireme {
namespace {

constexpr char kSetFlag[] = "--set";

bool is_bare_key(std::string_view key) {
  char before = '.';
  for (const char c : key) {
    const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '_' || c == '-';
    if (!word && (c != '.' || before == '.')) return false;
    before = c;
  }
  return before != '.';
}

template <class T>
std::string limits_of(const Range<T>& range) {
  std::vector<std::string> parts;
  if (range.min) parts.push_back("at least " + config_text(*range.min));
  if (range.above) parts.push_back("above " + config_text(*range.above));
  if (range.max) parts.push_back("at most " + config_text(*range.max));
  if (range.below) parts.push_back("below " + config_text(*range.below));
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : ", ") + part;
  return out;
}

template <class T>
bool inside(const Range<T>& range, T value) {
  return (!range.min || value >= *range.min) && (!range.max || value <= *range.max) &&
         (!range.above || value > *range.above) && (!range.below || value < *range.below);
}

// The part that all plain kinds share.
template <class T>
ConfigField plain_field(const std::string& key, T* field, const std::string& help) {
  ConfigField out;
  out.key = key;
  out.help = help;
  out.get = [field] { return ConfigValue(*field); };
  out.check = [](const ConfigValue&) { return std::string(); };
  out.assign = [field](const ConfigValue& value) { *field = std::get<T>(value); };
  return out;
}

template <class T>
ConfigField ranged_field(const std::string& key, T* field, const Range<T>& range,
                         const std::string& help) {
  ConfigField out = plain_field(key, field, help);
  out.limits = limits_of(range);
  out.check = [range, limits = out.limits](const ConfigValue& value) {
    const T number = std::get<T>(value);
    if constexpr (std::is_floating_point_v<T>) {
      if (!std::isfinite(number)) return cat("must be a finite number, not ", config_text(value));
    }
    if (!inside(range, number)) return cat("must be ", limits, ", not ", config_text(value));
    return std::string();
  };
  return out;
}

ConfigField choice_field(const std::string& key, std::vector<std::string> choices,
                         std::function<std::string()> get,
                         std::function<void(const std::string&)> assign, const std::string& help) {
  ConfigField out;
  out.key = key;
  out.help = help;
  for (const std::string& choice : choices)
    out.limits += (out.limits.empty() ? "" : " | ") + choice;
  out.choices = std::move(choices);
  out.get = [get = std::move(get)] { return ConfigValue(get()); };
  out.assign = [assign = std::move(assign)](const ConfigValue& value) {
    assign(std::get<std::string>(value));
  };
  out.check = [choices = out.choices, limits = out.limits](const ConfigValue& value) {
    const auto& text = std::get<std::string>(value);
    if (std::find(choices.begin(), choices.end(), text) != choices.end()) return std::string();
    return cat("must be one of ", limits, ", not ", config_text(value),
               did_you_mean(text, choices));
  };
  return out;
}

std::vector<std::string> keys_of(const std::vector<ConfigField>& fields) {
  std::vector<std::string> keys;
  keys.reserve(fields.size());
  for (const ConfigField& field : fields) keys.push_back(field.key);
  return keys;
}

bool is_table_of(std::string_view table, std::string_view key) {
  return key.size() > table.size() && key.starts_with(table) && key[table.size()] == '.';
}

}  // namespace

Schema::Added Schema::add_field(ConfigField field) {
  if (!is_bare_key(field.key)) throw std::logic_error("configuration key: " + field.key);
  if (field.help.empty() || field.help.find('\n') != std::string::npos) {
    throw std::logic_error(field.key + ": help must be one line");
  }
  for (const ConfigField& other : fields_) {
    if (other.key == field.key || is_table_of(other.key, field.key) ||
        is_table_of(field.key, other.key)) {
      throw std::logic_error(field.key + " clashes with " + other.key);
    }
  }
  field.default_value = field.get();
  fields_.push_back(std::move(field));
  return Added(fields_.back());
}

Schema::Added Schema::add(const std::string& key, std::int64_t* field, const std::string& help) {
  return add(key, field, Range<std::int64_t>{}, help);
}
Schema::Added Schema::add(const std::string& key, std::int64_t* field, Range<std::int64_t> range,
                          const std::string& help) {
  return add_field(ranged_field(key, field, range, help));
}
Schema::Added Schema::add(const std::string& key, double* field, const std::string& help) {
  return add(key, field, Range<double>{}, help);
}
Schema::Added Schema::add(const std::string& key, double* field, Range<double> range,
                          const std::string& help) {
  return add_field(ranged_field(key, field, range, help));
}
Schema::Added Schema::add(const std::string& key, bool* field, const std::string& help) {
  return add_field(plain_field(key, field, help));
}
Schema::Added Schema::add(const std::string& key, std::string* field, const std::string& help) {
  return add_field(plain_field(key, field, help));
}
Schema::Added Schema::add(const std::string& key, std::string* field, Choices choices,
                          const std::string& help) {
  return add_choice(
      key, std::move(choices.values), [field] { return *field; },
      [field](const std::string& text) { *field = text; }, help);
}
Schema::Added Schema::add(const std::string& key, std::vector<std::string>* field,
                          const std::string& help) {
  return add_field(plain_field(key, field, help));
}
Schema::Added Schema::add_choice(const std::string& key, std::vector<std::string> spellings,
                                 std::function<std::string()> name_of,
                                 std::function<void(const std::string&)> assign,
                                 const std::string& help) {
  return add_field(
      choice_field(key, std::move(spellings), std::move(name_of), std::move(assign), help));
}

ConfigField* Schema::find(std::string_view key) {
  for (ConfigField& field : fields_) {
    if (field.key == key) return &field;
  }
  return nullptr;
}

const ConfigField& Schema::at(std::string_view key) const {
  for (const ConfigField& field : fields_) {
    if (field.key == key) return field;
  }
  throw std::logic_error(cat("no configuration key ", key));
}

bool Schema::is_table(std::string_view name) const {
  for (const ConfigField& field : fields_) {
    if (is_table_of(name, field.key)) return true;
  }
  return false;
}

Error Schema::unknown_key(std::string_view key, const std::string& where) const {
  if (is_table(key)) return input_error(where, ": '", key, "' is a table of keys, not a value");
  for (const ConfigField& field : fields_) {
    if (field.key == key || is_table_of(field.key, key)) {
      return input_error(where, ": '", field.key, "' must be ", type_name(field.default_value),
                         ", not a table");
    }
  }
  return input_error(where, ": unknown key '", key, "'", did_you_mean(key, keys_of(fields_)));
}

void Schema::store(ConfigField& field, const ConfigValue& value, const std::string& where) {
  const std::string wrong = field.check(value);
  if (!wrong.empty()) throw input_error(where, ": '", field.key, "' ", wrong);
  field.assign(value);
  field.origin = where;
}

void Schema::load(const std::string& path) {
  load_text(read_file(path), path);
}

void Schema::load_text(std::string_view text, const std::string& name) {
  for (const TomlEntry& entry : parse_toml(text, name)) {
    const std::string where = cat(name, ":", entry.line);
    if (entry.is_table) {
      if (!is_table(entry.key)) throw unknown_key(entry.key, where);
      continue;
    }
    ConfigField* field = find(entry.key);
    if (field == nullptr) throw unknown_key(entry.key, where);
    const std::optional<ConfigValue> value = converted(entry.value, field->default_value);
    if (!value) {
      throw input_error(where, ": '", field->key, "' must be ", type_name(field->default_value),
                        ", not ", entry.described);
    }
    store(*field, *value, where);
  }
}

void Schema::set(std::string_view assignment) {
  const std::size_t equals = assignment.find('=');
  if (equals == std::string_view::npos || equals == 0) {
    throw input_error(kSetFlag, " ", assignment, ": must have the form key=value");
  }
  const std::string_view key = trimmed(assignment.substr(0, equals));
  const std::string_view text = trimmed(assignment.substr(equals + 1));
  const std::string where = cat(kSetFlag, " ", assignment);
  ConfigField* field = find(key);
  if (field == nullptr) throw unknown_key(key, where);
  const std::optional<ConfigValue> value = parse_set_value(text, field->default_value);
  if (!value) {
    throw input_error(where, ": '", key, "' must be ", type_name(field->default_value));
  }
  store(*field, *value, where);
}

void Schema::check_required() const {
  for (const ConfigField& field : fields_) {
    if (field.is_required && field.origin.empty()) {
      throw input_error("required key '", field.key, "' has no value (", field.help,
                        "): give it in the configuration file or with ", kSetFlag, " ", field.key,
                        "=...");
    }
  }
}

std::string Schema::where(std::string_view key) const {
  const ConfigField& field = at(key);
  return field.origin.empty() ? field.key : field.origin + ": " + field.key;
}

}  // namespace trireme
