// parse_json: nlohmann's lexer and parser, with a handler of our own that builds the value. The
// stock builder looks every new key up in a vector, which takes seconds for a vocabulary of 50,000,
// and lets duplicates through.
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

// A short printable form of what stands in the text at an offset.
std::string shown(std::string_view text, std::size_t offset) {
  constexpr std::size_t kMaxShown = 16;
  std::string out;
  for (std::size_t i = offset; i < text.size() && out.size() < kMaxShown; ++i) {
    const char c = text[i];
    if (c < 0x20 || c > 0x7E) break;
    out.push_back(c);
    const bool word = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                      c == '.' || c == '-' || c == '+' || c == '_';
    if (!word) break;
  }
  return out;
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

  // Called by the parser; `position` counts the characters read, so the last token ends there.
  bool parse_error(std::size_t position, const std::string& last_token,
                   const nlohmann::detail::exception& error) {
    if (position > text_.size()) {
      throw input_error(place(text_, text_.size(), where_),
                        ": not valid JSON: the text ends in the middle of a value");
    }
    if (error.id == 406) {  // nlohmann: number beyond double
      throw input_error(place(text_, position - last_token.size(), where_), ": number '",
                        last_token, "' is out of range");
    }
    const bool in_string = !last_token.empty() && last_token.front() == '"';
    if (in_string) {
      throw input_error(place(text_, position - 1, where_), ": not valid JSON: ", string_fault());
    }
    // A token with escaped control characters ("<U+0001>") is longer than its text; then its end
    // has to do.
    const std::size_t length =
        last_token.empty() || last_token.size() > position ? 1 : last_token.size();
    const std::size_t start = position - length;
    const std::string token = shown(text_, start);
    throw input_error(place(text_, start, where_), ": not valid JSON: ",
                      token.empty() ? "unexpected character" : cat("unexpected '", token, "'"));
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

  static const char* string_fault() {
    return "a string holds a control character, a wrong escape, or bytes that are not UTF-8";
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
