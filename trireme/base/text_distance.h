// The nearest valid spelling of a mistyped name, for error messages.
//
//   throw input_error(where, ": unknown key '", key, "'", did_you_mean(key, keys));
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace trireme {

// Fewest insertions, deletions, substitutions and swaps of neighbours (each swap used once: the
// "optimal string alignment" distance) that turn a into b. O(|a| |b|) time, O(|b|) memory; bytes,
// not code points.
std::size_t edit_distance(std::string_view a, std::string_view b);

// The candidate nearest to name, upper and lower case taken as equal; the first one among equals.
// Empty when nothing is near: more than a third of the longer spelling would have to change (one
// edit is always allowed in names of two letters or more). A dotted candidate with the same last
// part counts as one edit away: 'train.lr' finds 'optim.lr'.
std::string nearest(std::string_view name, std::span<const std::string> candidates);

// "; did you mean 'x'?", or nothing when no candidate is near.
std::string did_you_mean(std::string_view name, std::span<const std::string> candidates);

}  // namespace trireme
