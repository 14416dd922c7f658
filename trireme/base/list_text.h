// Lists in messages: "a, b, c and 12 more".
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "trireme/base/error.h"

namespace trireme {

// The first `most` values, as cat() writes them, and how many more there are.
template <class T>
std::string list_text(const std::vector<T>& values, size_t most) {
  std::string text;
  for (size_t i = 0; i < std::min(values.size(), most); ++i) {
    text += cat(i > 0 ? ", " : "", values[i]);
  }
  return values.size() > most ? cat(text, " and ", values.size() - most, " more") : text;
}

}  // namespace trireme
