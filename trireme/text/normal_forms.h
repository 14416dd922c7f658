// Unicode normalisation forms (UAX 15) with sources, as of Unicode 9.
//
// Where a character comes from when characters are split, joined and reordered follows
// `tokenizers`: the result is read from left to right beside the text; the first character of a
// decomposition takes the next character of the text, the others share it, and a composed character
// takes as many as it joins but stands for the first alone. So in a reordered run of marks the
// sources stay in order although the marks do not.
#pragma once

#include <cstdint>
#include <string>

#include "trireme/text/sourced_text.h"

namespace trireme::text {

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

void normalize(SourcedChars& chars, NormalForm form);

// The canonical or compatibility decomposition of one character, or the character itself.
void append_decomposition(std::u32string& out, char32_t c, bool compatibility);
// Canonical combining class; 0 for characters after Unicode 9.
std::uint8_t combining_class(char32_t c);

}  // namespace trireme::text
