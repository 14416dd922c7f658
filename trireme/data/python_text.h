// The few text rules of Python's str that the official SQuAD script relies on: its scores must
// come out the same to the last answer, in every script.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trireme::data {

// str.lower(): full case mapping of no particular language (final sigma included).
std::string python_lower(std::string_view text);

// Bytes of the white space character (as str.isspace()) that begins at `at`, or 0.
size_t white_space_at(std::string_view text, size_t at);

// str.lstrip() and str.split() without arguments.
std::string_view python_lstrip(std::string_view text);
std::vector<std::string_view> python_split(std::string_view text);

// \w of `re`: letters, everything numeric, and the underscore.
bool is_word_character(char32_t c);

// Answers are compared by this form: lower case, no ASCII punctuation, no articles (a, an, the as
// whole words), white space runs as one space.
std::string normalize_answer(std::string_view text);

}  // namespace trireme::data
