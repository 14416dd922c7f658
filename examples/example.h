// What the examples share: flags "--name N", the allocator that keeps its memory, and errors as one
// line and an exit code.
#pragma once

#include <charconv>
#include <cstdio>
#include <string>

#include "trireme/base/error.h"
#include "trireme/device/caching_allocator.h"

struct Arguments {
  int argc;
  char** argv;

  int get(const std::string& name, int otherwise) const {
    for (int i = 1; i < argc; ++i) {
      if (name != argv[i]) continue;
      const std::string text = i + 1 < argc ? argv[i + 1] : "";
      int value = 0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
      if (error == std::errc() && end == text.data() + text.size() && !text.empty()) return value;
      throw trireme::input_error(name, " '", text, "': expected a number");
    }
    return otherwise;
  }
};

template <class Run>
int run_example(int argc, char** argv, const Run& run) {
  try {
    trireme::device::install_caching_allocator();
    run(Arguments{argc, argv});
    return 0;
  } catch (const trireme::Error& error) {
    std::fprintf(stderr, "%s: error: %s\n", argv[0], error.what());
    return error.exit_code();
  }
}
