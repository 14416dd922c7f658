// parse_json: nlohmann's lexer and parser, with a handler of our own that builds the value. The
// stock builder looks every new key up in a vector, which takes seconds for a vocabulary of 50,000,
// and lets duplicates through.
#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/json.h"

namespace trireme {
namespace {

// Input iterator that tells how far the lexer has read.
class TrackedChars {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  TrackedChars(const char* at, const char** furthest) : at_(at), furthest_(furthest) {}
  reference operator*() const { return *at_; }
  TrackedChars& operator++() {
    *furthest_ = ++at_;
    return *this;
  }
  bool operator==(const TrackedChars& other) const { return at_ == other.at_; }
  bool operator!=(const TrackedChars& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** furthest_;
};

// "WHERE:line:column", both from 1, of a byte offset.
std::string place(std::string_view text, std::size_t offset, const std::string& where) {
  const std::string_view before = text.substr(0, offset);
  std::size_t line = 1;
  std::size_t column = 1;
  for (const char c : before) {
    if (c == '\n') {
      ++line;
      column = 1;
    } else if ((static_cast<unsigned char>(c) & 0xC0U) != 0x80) {
      ++column;
    }
  }
  return cat(where, ":", line, ":", column);
}

bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
         c == '-' || c == '+' || c == '_';
}

// The token in which the text before `end` ends; the parser tells only how far it has read.
std::string_view last_token(std::string_view text, std::size_t end) {
  constexpr std::string_view kBlank = " \t\r\n";
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = text.find_first_not_of(kBlank, at);
    if (start == std::string_view::npos) break;
    at = start + 1;
    if (text[start] == '"') {
      while (at < text.size() && text[at] != '"') at += text[at] == '\\' ? 2 : 1;
      at = std::min(at + 1, text.size());
    } else if (is_word(text[start])) {
      while (at < text.size() && is_word(text[at])) ++at;
    }
    // What was read may reach over blanks behind the token: "tru }".
    const std::size_t next = std::min(text.find_first_not_of(kBlank, at), text.size());
    if (at >= end || next >= end) return text.substr(start, at - start);
  }
  return text.substr(std::min(end, text.size()));
}

// "unexpected 'tru'"
std::string unexpected(std::string_view token) {
  constexpr std::size_t kMaxShown = 24;
  for (const char c : token) {
    if (c < 0x20 || c > 0x7E)
      return token.size() == 1 ? "unexpected character" : "unexpected string";
  }
  if (token.size() > kMaxShown) return cat("unexpected '", token.substr(0, kMaxShown), "...'");
  return cat("unexpected '", token, "'");
}

class Builder {
 public:
  Builder(std::string_view text, const std::string& where, const char* const& furthest)
      : text_(text), where_(where), furthest_(furthest) {}

  Json take() { return std::move(root_); }

  bool null() { return put(nullptr); }
  bool boolean(bool value) { return put(value); }
  bool number_integer(Json::number_integer_t value) { return put(value); }
  bool number_unsigned(Json::number_unsigned_t value) { return put(value); }
  bool number_float(Json::number_float_t value, const std::string&) { return put(value); }
  bool string(std::string& value) { return put(std::move(value)); }
  bool binary(Json::binary_t&) { return false; }

  bool start_object(std::size_t) { return open(Json::object()); }
  bool key(std::string& name) {
    Level& level = levels_.back();
    if (!level.names.insert(name).second) {
      throw input_error(here(), ": key '", name, "' stands twice in one object");
    }
    level.key = std::move(name);
    return true;
  }
  bool end_object() { return close(); }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool end_array() { return close(); }

  // Called by the parser, which has read `position` characters.
  bool parse_error(std::size_t position, const std::string& number,
                   const nlohmann::detail::exception& error) {
    constexpr int kOutOfRange = 406;
    if (position > text_.size()) {
      throw input_error(place(text_, text_.size(), where_),
                        ": not valid JSON: the text ends in the middle of a value");
    }
    const std::string_view token = last_token(text_, position);
    const auto start = static_cast<std::size_t>(token.data() - text_.data());
    if (error.id == kOutOfRange) {
      throw input_error(place(text_, start, where_), ": number '", number, "' is out of range");
    }
    if (std::string_view(error.what()).find("invalid string") != std::string_view::npos) {
      throw input_error(place(text_, position - 1, where_),
                        ": not valid JSON: a string holds a "
                        "control character, a wrong escape, or bytes that are not UTF-8");
    }
    throw input_error(place(text_, start, where_), ": not valid JSON: ", unexpected(token));
  }

 private:
  struct Level {
    Json value;
    std::string key;                        // of the member whose value comes next
    std::unordered_set<std::string> names;  // of an object, to find duplicates
  };

  std::string here() const {
    return place(text_, static_cast<std::size_t>(furthest_ - text_.data()), where_);
  }

  bool open(Json empty) {
    if (levels_.size() >= kMaxJsonDepth) {
      throw input_error(here(), ": nested deeper than ", kMaxJsonDepth, " levels");
    }
    levels_.push_back({std::move(empty), {}, {}});
    return true;
  }

  bool close() {
    Json done = std::move(levels_.back().value);
    levels_.pop_back();
    return put(std::move(done));
  }

  bool put(Json value) {
    if (levels_.empty()) {
      root_ = std::move(value);
      return true;
    }
    Level& level = levels_.back();
    if (level.value.is_array()) {
      level.value.get_ref<Json::array_t&>().push_back(std::move(value));
    } else {
      level.value.get_ref<Json::object_t&>().emplace_back(std::move(level.key), std::move(value));
    }
    return true;
  }

  std::string_view text_;
  const std::string& where_;
  const char* const& furthest_;
  std::vector<Level> levels_;
  Json root_;
};

}  // namespace

Json parse_json(std::string_view text, const std::string& where) {
  // The lexer takes it for the end of the text.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    throw input_error(place(text, nul, where), ": not valid JSON: a NUL byte");
  }
  const char* furthest = text.data();
  Builder builder(text, where, furthest);
  const TrackedChars begin(text.data(), &furthest);
  const TrackedChars end(text.data() + text.size(), &furthest);
  if (!Json::sax_parse(begin, end, &builder)) throw input_error(where, ": not valid JSON");
  return builder.take();
}

Json read_json_file(const std::string& path) {
  return parse_json(read_file(path), path);
}

}  // namespace trireme
