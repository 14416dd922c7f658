// The frame of a fuzz target: whatever the bytes, the parser returns or throws an Error of one
// line.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "trireme/base/error.h"

namespace trireme::fuzz {

template <class Parse>
int one_input(const uint8_t* data, size_t size, const Parse& parse) {
  try {
    parse(std::string_view(reinterpret_cast<const char*>(data), size));
  } catch (const Error& error) {
    if (std::strchr(error.what(), '\n') != nullptr) std::abort();  // a message is one line
  }
  return 0;
}

}  // namespace trireme::fuzz
