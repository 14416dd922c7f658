// Messages of other libraries' exceptions, made fit for one line of ours.
#pragma once

#include <string>
#include <string_view>

namespace trireme::comm {

// The first line, without LibTorch's source position in front and the trace behind.
inline std::string first_line(std::string_view text) {
  text = text.substr(0, text.find('\n'));
  if (text.starts_with('[')) {
    const size_t end = text.find("] ");
    text = end == std::string_view::npos ? text : text.substr(end + 2);
  }
  return std::string(text);
}

}  // namespace trireme::comm
