// `trireme data tokenize`: one text a line in, one JSON object a line out.
#pragma once

#include <cstdint>
#include <iosfwd>

#include "trireme/text/tokenizer.h"

namespace trireme::text {

// Lines end at \n and nothing else; a last line without one counts, an empty line is an empty text.
// For each:
// {"ids":[...],"offsets":[[begin,end],...],"tokens":["...",...]}, offsets in code points of the
// line.
// Returns how many texts there were.
int64_t tokenize_lines(const Tokenizer& tokenizer, std::istream& in, std::ostream& out,
                       bool special);

}  // namespace trireme::text
