// The tokenizer alone, for the comparison with other tokenizers and for sanitizers.
//   tokenize_probe --tokenizer DIR [FILE|-] [--special]     what `trireme data tokenize` does
//   tokenize_probe --tokenizer DIR [FILE|-] --json          a JSON string or an array of two
//   strings a line, with
//                                                           special tokens; everything that an
//                                                           Encoding has, and its tokens decoded
//   tokenize_probe --tokenizer DIR [FILE|-] --time PASSES   JSON strings; the seconds of the best
//   pass over them
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <fstream>
#include <iostream>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/base/json.h"
#include "trireme/text/tokenize_lines.h"

namespace {

using trireme::Json;
using trireme::text::Encoding;
using trireme::text::Tokenizer;

struct Arguments {
  std::string tokenizer;
  std::string file = "-";
  bool special = false;
  bool json = false;
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
    } else if (args[i] == "--json") {
      result.json = true;
    } else if (args[i] == "--time") {
      result.passes = std::stoi(value());
    } else {
      result.file = args[i];
    }
  }
  return result;
}

void tokenize_json(const Tokenizer& tokenizer, std::istream& in, std::ostream& out) {
  for (std::string line; std::getline(in, line);) {
    const Json text = trireme::parse_json(line, "a line");
    const Encoding encoding = text.is_string()
                                  ? tokenizer.encode(trireme::as_string(text, "a line"))
                                  : tokenizer.encode_pair(trireme::as_string(text.at(0), "a line"),
                                                          trireme::as_string(text.at(1), "a line"));
    Json offsets = Json::array();
    Json tokens = Json::array();
    for (std::size_t i = 0; i < encoding.size(); ++i) {
      offsets.push_back({encoding.offsets[i].begin, encoding.offsets[i].end});
      tokens.push_back(tokenizer.id_to_token(encoding.ids[i]));
    }
    const std::string decoded = tokenizer.decode(encoding.ids, /*skip_special=*/true);
    out << trireme::dump_json({{"ids", encoding.ids},
                               {"offsets", std::move(offsets)},
                               {"tokens", std::move(tokens)},
                               {"type_ids", encoding.type_ids},
                               {"special_mask", encoding.special_mask},
                               {"decoded", decoded}})
        << '\n';
  }
}

void time_passes(const Tokenizer& tokenizer, std::istream& in, int passes, std::ostream& out) {
  std::vector<std::string> texts;
  for (std::string line; std::getline(in, line);) {
    texts.push_back(trireme::as_string(trireme::parse_json(line, "a line"), "a line"));
  }
  double best = std::numeric_limits<double>::infinity();
  std::size_t tokens = 0;
  for (int pass = 0; pass < passes; ++pass) {
    tokens = 0;
    const auto start = std::chrono::steady_clock::now();
    for (const std::string& text : texts) tokens += tokenizer.encode(text).size();
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    best = std::min(best, taken.count());
  }
  out << trireme::dump_json({{"seconds", best}, {"tokens", tokens}}) << '\n';
}

void run(const Arguments& args, std::istream& in) {
  const Tokenizer tokenizer = Tokenizer::load(args.tokenizer);
  if (args.passes > 0) {
    time_passes(tokenizer, in, args.passes, std::cout);
  } else if (args.json) {
    tokenize_json(tokenizer, in, std::cout);
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
