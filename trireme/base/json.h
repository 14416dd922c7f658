// JSON in and out, with errors for people. Json keeps the order of keys.
//
//   const Json config = read_json_file(path);                       // PATH:3:17: not valid JSON:
//   ... const std::int64_t hidden = require_int(config, "hidden_size", path);  // PATH: key
//   'hidden_size' is missing ...
//
// Looking up a key in a Json object is linear in its number of keys: go through large objects (a
// vocabulary) with items() instead.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace trireme {

using Json = nlohmann::ordered_json;

// Objects and arrays may be nested this deep.
inline constexpr std::size_t kMaxJsonDepth = 128;

// Parses a whole text (RFC 8259; a byte order mark at the start is skipped). Refused with an
// input_error "WHERE:line:column: ..." (columns count code points): wrong syntax, strings that are
// not UTF-8, a NUL byte, more than one value, a key twice in one object, nesting beyond
// kMaxJsonDepth, numbers beyond double.
Json parse_json(std::string_view text, const std::string& where);

// parse_json of a file, `where` being its path.
Json read_json_file(const std::string& path);

// Text of a value. Bytes that are not UTF-8 are written as U+FFFD and NaN and infinities as null;
// doubles read back to the same bits. indent < 0 = one line.
std::string dump_json(const Json& value, int indent = -1);

// The value at a key of an object, of the type wanted. `where` says what the object is
// ("config.json", "config.json: text_config") and opens the message. An integer is accepted as a
// double, no other conversion is made; require_int refuses what does not fit 64 bits. Missing key,
// wrong type, or `object` not an object: input_error. References live as long as `object`.
const Json& require(const Json& object, std::string_view key, const std::string& where);
const std::string& require_string(const Json& object, std::string_view key,
                                  const std::string& where);
std::int64_t require_int(const Json& object, std::string_view key, const std::string& where);
double require_double(const Json& object, std::string_view key, const std::string& where);
bool require_bool(const Json& object, std::string_view key, const std::string& where);
const Json& require_array(const Json& object, std::string_view key, const std::string& where);
const Json& require_object(const Json& object, std::string_view key, const std::string& where);

// The same, with a value to take when the key is absent or null.
std::string optional_string(const Json& object, std::string_view key, const std::string& where,
                            const std::string& fallback);
std::int64_t optional_int(const Json& object, std::string_view key, const std::string& where,
                          std::int64_t fallback);
double optional_double(const Json& object, std::string_view key, const std::string& where,
                       double fallback);
bool optional_bool(const Json& object, std::string_view key, const std::string& where,
                   bool fallback);

// The value itself (an element of an array, say) as the type wanted; `where` names it.
const std::string& as_string(const Json& value, const std::string& where);
std::int64_t as_int(const Json& value, const std::string& where);
double as_double(const Json& value, const std::string& where);
bool as_bool(const Json& value, const std::string& where);
const Json& as_array(const Json& value, const std::string& where);
const Json& as_object(const Json& value, const std::string& where);

}  // namespace trireme
