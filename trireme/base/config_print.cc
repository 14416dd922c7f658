// Schema's output: effective TOML, and JSON.
#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trireme/base/config.h"
#include "trireme/base/config_text.h"

namespace trireme {
namespace {

// "a.b.c" -> {"a.b", "c"}; "c" -> {"", "c"}.
std::pair<std::string, std::string> split_key(const std::string& key) {
  const std::size_t dot = key.rfind('.');
  if (dot == std::string::npos) return {"", key};
  return {key.substr(0, dot), key.substr(dot + 1)};
}

// Tables in the order of their first key; the root first, because TOML cannot return to it.
std::vector<std::string> tables_of(const std::vector<ConfigField>& fields) {
  std::vector<std::string> tables = {""};
  for (const ConfigField& field : fields) {
    const std::string table = split_key(field.key).first;
    if (std::find(tables.begin(), tables.end(), table) == tables.end()) tables.push_back(table);
  }
  return tables;
}

// What an empty place in the file must be: "required, a string", "not given, an integer at least
// 1".
std::string wanted(const ConfigField& field) {
  return (field.is_required ? "required, " : "not given, ") + type_name(field.default_value) +
         (field.limits.empty() ? "" : ": " + field.limits);
}

void put_nested(Json& root, const std::string& key, Json value) {
  Json* at = &root;
  std::string_view rest = key;
  for (std::size_t dot = rest.find('.'); dot != std::string_view::npos; dot = rest.find('.')) {
    at = &(*at)[std::string(rest.substr(0, dot))];
    rest.remove_prefix(dot + 1);
  }
  (*at)[std::string(rest)] = std::move(value);
}

}  // namespace

std::string Schema::print() const {
  std::string out;
  for (const std::string& table : tables_of(fields_)) {
    if (!table.empty()) out += (out.empty() ? "[" : "\n[") + table + "]\n";
    for (const ConfigField& field : fields_) {
      const auto [its_table, name] = split_key(field.key);
      if (its_table != table) continue;
      out += "# " + field.help + "\n";
      if (field.has_value()) {
        out += name + " = " + config_text(field.get()) + "\n";
      } else {
        out += "# " + name + " =   (" + wanted(field) + ")\n";
      }
    }
  }
  return out;
}

Json Schema::to_json() const {
  Json root = Json::object();
  for (const ConfigField& field : fields_) {
    Json value;
    if (field.has_value()) {
      value = std::visit([](const auto& content) { return Json(content); }, field.get());
    }
    put_nested(root, field.key, std::move(value));
  }
  return root;
}

}  // namespace trireme
