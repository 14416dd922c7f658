// Properties of code points.
//
// Tokenizers are fixed functions, so each property follows the Unicode version that Hugging Face's
// `tokenizers` 0.23 uses for it, not the newest: the vocabulary's author counted tokens with those.
// ICU gives the properties; characters that came later are left out by their age, and characters
// newer than ICU 72 (Unicode 15) are listed here. tests/interop/test_tokenizers.py checks every
// code point against `tokenizers`.
#pragma once

#include <string>

namespace trireme::text {

// White_Space (has not changed since Unicode 6.3).
bool is_white_space(char32_t c);

// \p{L} and \p{N} of Unicode 16: what GPT-2's split pattern goes by.
bool is_letter(char32_t c);
bool is_number(char32_t c);

// \w of Unicode 16 (Alphabetic, M, Nd, Pc, Join_Control): what may not touch a `single_word` token.
bool is_word(char32_t c);

// BERT, Unicode 8: controls, formats and private characters but tab, line feed and carriage return,
// and U+FFFD: taken out of the text.
bool is_bert_control(char32_t c);
// BERT, Unicode 8: P*, and all ASCII symbols: a word of its own each.
bool is_bert_punctuation(char32_t c);
// BERT: the CJK blocks whose characters become words of their own.
bool is_bert_cjk(char32_t c);
// Mn of Unicode 8: what BERT's strip_accents takes out.
bool is_nonspacing_mark(char32_t c);

// M* of Unicode 9: what the StripAccents normalizer takes out.
bool is_combining_mark(char32_t c);

// Adds the full lower case of one character, Unicode 17, without context (no final sigma).
void append_lower(std::u32string& out, char32_t c);

}  // namespace trireme::text
