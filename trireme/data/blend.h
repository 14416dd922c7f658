// Which corpora a run trains on, as data.train says it.
//
//   parse_blend("corpus/books:0.7, corpus/web:0.3", "data.train")   // a blend by weights
//   parse_blend("corpus/books, corpus/web", "data.train")           // all documents of both, alike
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trireme::data {

struct BlendPart {
  std::string prefix;  // of PREFIX.bin and PREFIX.idx
  double weight = 0;   // 0: none was given
};

// Prefixes with commas between; a weight follows the last colon. Throws input_error that begins
// with `where`: an empty name, a weight that is no number above 0, weights for some only.
std::vector<BlendPart> parse_blend(std::string_view text, const std::string& where);

}  // namespace trireme::data
