// The characters of a stream for nlohmann's parser, whose own numbering of lines a reader cannot
// ask.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <streambuf>
#include <string>
#include <string_view>

#include "trireme/base/error.h"

namespace trireme::data {

// Where the parser stands.
struct InputPlace {
  std::string name;
  int64_t line = 1;
};

// Input iterator that counts lines on the way. A NUL byte is an input_error: the parser would take
// it for the end, and what is behind it would be lost.
class CountedInput {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = char;

  CountedInput() = default;  // the end
  CountedInput(std::streambuf* source, InputPlace* place) : source_(source), place_(place) {}

  char operator*() const { return static_cast<char>(source_->sgetc()); }
  CountedInput& operator++() {
    const int byte = source_->sbumpc();
    if (byte == '\0') {
      throw input_error(place_->name, ":", place_->line, ": not valid JSON: a NUL byte");
    }
    if (byte == '\n') ++place_->line;
    return *this;
  }
  bool operator==(const CountedInput& other) const { return at_end() == other.at_end(); }
  bool operator!=(const CountedInput& other) const { return !(*this == other); }

 private:
  bool at_end() const {
    return source_ == nullptr || source_->sgetc() == std::streambuf::traits_type::eof();
  }

  std::streambuf* source_ = nullptr;
  InputPlace* place_ = nullptr;
};

// Text in memory as a stream, without a copy.
class ViewBuffer : public std::streambuf {
 public:
  explicit ViewBuffer(std::string_view text) {
    char* begin = const_cast<char*>(text.data());  // only ever read
    setg(begin, begin, begin + text.size());
  }
};

}  // namespace trireme::data
