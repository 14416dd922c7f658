// Strict configuration: a schema binds keys to the fields of a plain struct, one TOML file and
// `--set key=value` overrides fill them, and everything else is an error that names file, line, key
// and the nearest valid spelling.
//
//   struct TrainConfig { std::int64_t steps = 1000; double lr = 3e-4; std::string data; };
//   TrainConfig config;
//   Schema schema;
//   schema.add("train.steps", &config.steps, Range<std::int64_t>{.min = 1}, "Optimiser steps.");
//   schema.add("optim.lr", &config.lr, Range<double>{.above = 0}, "Peak learning rate.");
//   schema.add("data.train", &config.data, "Training file.").required();
//   schema.load("configs/x.toml");  // x.toml:12: unknown key 'stpes'; did you mean 'steps'?
//   schema.set("train.steps=500");
//   schema.check_required();
//
// The value a field has when it is added is its default. Fields must outlive the schema.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/base/json.h"

namespace trireme {

// Bounds of a number; unset ones do not bind. min and max are allowed themselves, above and below
// are not. NaN and infinity are refused always.
template <class T>
struct Range {
  std::optional<T> min = std::nullopt;
  std::optional<T> max = std::nullopt;
  std::optional<T> above = std::nullopt;
  std::optional<T> below = std::nullopt;
};

// The values that a string may have.
struct Choices {
  Choices(std::initializer_list<std::string> list) : values(list) {}
  explicit Choices(std::vector<std::string> list) : values(std::move(list)) {}
  std::vector<std::string> values;
};

using ConfigValue = std::variant<std::int64_t, double, bool, std::string, std::vector<std::string>>;

// One key. The pieces below describe it to print().
struct ConfigField {
  std::string key;     // "train.steps"
  std::string help;    // one line
  std::string limits;  // "at least 1", "fp32 | bf16"; empty when anything goes
  std::vector<std::string> choices;
  ConfigValue default_value;         // also tells the type
  std::function<ConfigValue()> get;  // the field as it is
  std::function<std::string(const ConfigValue&)>
      check;                                       // what is wrong ("must be at least 1"), or ""
  std::function<void(const ConfigValue&)> assign;  // stores a checked value
  bool is_required = false;
  std::string origin;  // "configs/x.toml:12", "--set train.steps=5", or empty: its default

  // False while it is required and not given, or has a default that stands for "not given".
  bool has_value() const { return !origin.empty() || (!is_required && check(get()).empty()); }
};

class Schema {
 public:
  // Returned by add(); only there to write schema.add(...).required().
  class Added {
   public:
    explicit Added(ConfigField& field) : field_(field) {}
    void required() { field_.is_required = true; }

   private:
    ConfigField& field_;
  };

  // Keys are dotted, each part of letters, digits, _ and -; help is one line. A key twice, or a key
  // that is also a table of another, is a std::logic_error: a mistake in code. A default outside
  // its own limits stands for "not given".
  Added add(const std::string& key, std::int64_t* field, const std::string& help);
  Added add(const std::string& key, std::int64_t* field, Range<std::int64_t> range,
            const std::string& help);
  Added add(const std::string& key, double* field, const std::string& help);
  Added add(const std::string& key, double* field, Range<double> range, const std::string& help);
  Added add(const std::string& key, bool* field, const std::string& help);
  Added add(const std::string& key, std::string* field, const std::string& help);
  Added add(const std::string& key, std::string* field, Choices choices, const std::string& help);
  Added add(const std::string& key, std::vector<std::string>* field, const std::string& help);

  // An enum by names: schema.add("optim.schedule", &s, {{"linear", Schedule::kLinear}, ...},
  // "...").
  template <class Enum>
  requires std::is_enum_v<Enum> Added
  add(const std::string& key, Enum* field,
      const std::vector<std::pair<std::string, std::type_identity_t<Enum>>>& names,
      const std::string& help) {
    std::vector<std::string> spellings;
    for (const auto& [name, value] : names) spellings.push_back(name);
    const auto find = [names](const std::string& spelling) {
      for (const auto& [name, value] : names) {
        if (name == spelling) return value;
      }
      return Enum{};  // not reached: choices are checked first
    };
    const auto name_of = [names, field] {
      for (const auto& [name, value] : names) {
        if (value == *field) return name;
      }
      return std::string();
    };
    return add_choice(
        key, std::move(spellings), name_of,
        [field, find](const std::string& spelling) { *field = find(spelling); }, help);
  }

  // Reads a TOML file; keys it does not name keep their values, so several files may be loaded in
  // turn.
  void load(const std::string& path);
  // The same from a text; `name` stands for the file in errors.
  void load_text(std::string_view text, const std::string& name);

  // "key=value". Strings need no quotes; a list is TOML ([\"a\", \"b\"]) or comma-separated.
  void set(std::string_view assignment);

  // input_error that names the first required key without a value.
  void check_required() const;

  // Where a key's value is from, to open messages about values that clash:
  // "x.toml:12: train.steps", "--set train.steps=5: train.steps" or, for a default, "train.steps".
  std::string where(std::string_view key) const;

  // The effective configuration as TOML that load() reads back to the same values, each key with
  // its help line. A required key without a value is commented out.
  std::string print() const;
  // The same as nested objects; null for a key without a value.
  Json to_json() const;

 private:
  Added add_field(ConfigField field);
  Added add_choice(const std::string& key, std::vector<std::string> spellings,
                   std::function<std::string()> name_of,
                   std::function<void(const std::string&)> assign, const std::string& help);
  ConfigField* find(std::string_view key);
  const ConfigField& at(std::string_view key) const;
  bool is_table(std::string_view name) const;
  Error unknown_key(std::string_view key, const std::string& where) const;
  static void store(ConfigField& field, const ConfigValue& value, const std::string& where);

  std::vector<ConfigField> fields_;
};

}  // namespace trireme
