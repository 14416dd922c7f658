// `trireme data tokenize` without the rest of the binary, for the comparison with other tokenizers
// and for sanitizers:
//   tokenize_probe --tokenizer DIR [FILE|-] [--special]
// and the clock of the library alone: the best of N passes over the lines of FILE, as JSON:
//   tokenize_probe --tokenizer DIR FILE --time N
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <limits>
#include <string>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/base/json.h"
#include "trireme/text/tokenize_lines.h"

namespace {

using trireme::text::Tokenizer;

struct Arguments {
  std::string tokenizer;
  std::string file = "-";
  bool special = false;
  int passes = 0;
};

Arguments parse(const std::vector<std::string>& args) {
  Arguments result;
  for (std::size_t i = 0; i < args.size(); ++i) {
    const auto value = [&]() -> const std::string& {
      if (i + 1 == args.size()) throw trireme::input_error(args[i], " needs a value");
      return args[++i];
    };
    if (args[i] == "--tokenizer") {
      result.tokenizer = value();
    } else if (args[i] == "--special") {
      result.special = true;
    } else if (args[i] == "--time") {
      result.passes = std::stoi(value());
    } else {
      result.file = args[i];
    }
  }
  return result;
}

void time_passes(const Tokenizer& tokenizer, std::istream& in, int passes, std::ostream& out) {
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  double best = std::numeric_limits<double>::infinity();
  std::size_t tokens = 0;
  for (int pass = 0; pass < passes; ++pass) {
    tokens = 0;
    const auto start = std::chrono::steady_clock::now();
    for (const std::string& line : lines) {
      tokens += tokenizer.encode(line, {.add_special = false}).size();
    }
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    best = std::min(best, taken.count());
  }
  out << trireme::dump_json({{"seconds", best}, {"tokens", tokens}}) << "\n";
}

void run(const Arguments& args, std::istream& in) {
  const Tokenizer tokenizer = Tokenizer::load(args.tokenizer);
  if (args.passes > 0) {
    time_passes(tokenizer, in, args.passes, std::cout);
  } else {
    trireme::text::tokenize_lines(tokenizer, in, std::cout, args.special);
  }
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Arguments args = parse({argv + 1, argv + argc});
    std::ios::sync_with_stdio(false);
    if (args.file == "-") {
      run(args, std::cin);
    } else {
      std::ifstream in(args.file, std::ios::binary);
      if (!in) throw trireme::input_error(args.file, ": cannot be read");
      run(args, in);
    }
    return 0;
  } catch (const trireme::Error& e) {
    std::cerr << "tokenize_probe: " << e.what() << "\n";
    return e.exit_code();
  }
}
