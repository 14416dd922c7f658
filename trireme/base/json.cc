#include "trireme/base/json.h"

#include <limits>
#include <utility>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/base/text_distance.h"

namespace trireme {
namespace {

// "a number (3)", "an object": the value as an error message shows it.
std::string described(const Json& value) {
  constexpr std::size_t kMaxShown = 40;
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::object:
      return "an object";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::string: {
      const std::string text = dump_json(value);
      return text.size() > kMaxShown ? "a string" : "the string " + text;
    }
    case Json::value_t::boolean:
      return value.get<bool>() ? "true" : "false";
    default:
      return "the number " + dump_json(value);
  }
}

Error wrong_type(const Json& value, const char* wanted, const std::string& where) {
  return input_error(where, " must be ", wanted, ", not ", described(value));
}

std::string at_key(const std::string& where, std::string_view key) {
  return cat(where, ": key '", key, "'");
}

const Json* find(const Json& object, std::string_view key, const std::string& where) {
  const auto found = as_object(object, where).find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

}  // namespace

std::string dump_json(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

const Json& require(const Json& object, std::string_view key, const std::string& where) {
  const auto found = as_object(object, where).find(key);
  if (found != object.end()) return *found;
  std::vector<std::string> names;
  for (const auto& item : object.items()) names.push_back(item.key());
  throw input_error(at_key(where, key), " is missing", did_you_mean(key, names));
}

const std::string& require_string(const Json& object, std::string_view key,
                                  const std::string& where) {
  return as_string(require(object, key, where), at_key(where, key));
}
std::int64_t require_int(const Json& object, std::string_view key, const std::string& where) {
  return as_int(require(object, key, where), at_key(where, key));
}
double require_double(const Json& object, std::string_view key, const std::string& where) {
  return as_double(require(object, key, where), at_key(where, key));
}
bool require_bool(const Json& object, std::string_view key, const std::string& where) {
  return as_bool(require(object, key, where), at_key(where, key));
}
const Json& require_array(const Json& object, std::string_view key, const std::string& where) {
  return as_array(require(object, key, where), at_key(where, key));
}
const Json& require_object(const Json& object, std::string_view key, const std::string& where) {
  return as_object(require(object, key, where), at_key(where, key));
}

std::string optional_string(const Json& object, std::string_view key, const std::string& where,
                            const std::string& fallback) {
  const Json* value = find(object, key, where);
  return value == nullptr ? fallback : as_string(*value, at_key(where, key));
}
std::int64_t optional_int(const Json& object, std::string_view key, const std::string& where,
                          std::int64_t fallback) {
  const Json* value = find(object, key, where);
  return value == nullptr ? fallback : as_int(*value, at_key(where, key));
}
double optional_double(const Json& object, std::string_view key, const std::string& where,
                       double fallback) {
  const Json* value = find(object, key, where);
  return value == nullptr ? fallback : as_double(*value, at_key(where, key));
}
bool optional_bool(const Json& object, std::string_view key, const std::string& where,
                   bool fallback) {
  const Json* value = find(object, key, where);
  return value == nullptr ? fallback : as_bool(*value, at_key(where, key));
}

const std::string& as_string(const Json& value, const std::string& where) {
  if (!value.is_string()) throw wrong_type(value, "a string", where);
  return value.get_ref<const std::string&>();
}

std::int64_t as_int(const Json& value, const std::string& where) {
  if (!value.is_number_integer()) throw wrong_type(value, "an integer", where);
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() >
          static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    throw wrong_type(value, "an integer of 64 bits", where);
  }
  return value.get<std::int64_t>();
}

double as_double(const Json& value, const std::string& where) {
  if (!value.is_number()) throw wrong_type(value, "a number", where);
  return value.get<double>();
}

bool as_bool(const Json& value, const std::string& where) {
  if (!value.is_boolean()) throw wrong_type(value, "true or false", where);
  return value.get<bool>();
}

const Json& as_array(const Json& value, const std::string& where) {
  if (!value.is_array()) throw wrong_type(value, "an array", where);
  return value;
}

const Json& as_object(const Json& value, const std::string& where) {
  if (!value.is_object()) throw wrong_type(value, "an object", where);
  return value;
}

}  // namespace trireme
