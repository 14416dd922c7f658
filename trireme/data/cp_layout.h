// Which rank of a context-parallel group holds which rows of a packed batch. A pure function of the
// sequences' lengths: every rank knows where all rows lie, without a message.
//
//   CpLayout layout = cp_layout(lengths, cp);
//   for (const CpPiece& piece : layout.ranks[rank]) ...
//
// A sequence of at least 2 cp tokens is cut into 2 cp chunks of equal length (to one token), of
// which rank r holds number r and number 2 cp - 1 - r: under a causal mask the later chunk sees as
// much more as the earlier one sees less, so that every rank has the same work ("head-tail", Llama
// 3, section 3.3.2; the imbalance that it mends: Brandon et al., "Striped Attention", 2023). A
// shorter one lies whole on one rank. Tokens that do not divide go to the ranks that have fewest.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace trireme::data {

// Rows [begin, begin + rows) of a sequence, side by side on a rank.
struct CpPiece {
  int32_t sequence = 0;  // in the whole batch
  int32_t begin = 0;     // in the sequence
  int32_t rows = 0;      // at least 1
  int32_t row = 0;       // the first of them in the rank's tensors
};

struct CpLayout {
  // [cp] in order of `row`, without gaps; pieces of one sequence side by side, the earlier one
  // first. Sequences that are cut come before those that are whole.
  std::vector<std::vector<CpPiece>> ranks;
  int64_t rows = 0;      // of every rank's tensors: a multiple of 64, at least 64
  int64_t cut_rows = 0;  // the first ones, in which all rows of sequences that are cut lie

  int cp() const { return static_cast<int>(ranks.size()); }
};

// `lengths`: tokens of each sequence, at least 1. Two ranks differ by fewer than 2 cp rows. Throws
// input_error for cp below 1 or an empty sequence.
CpLayout cp_layout(std::span<const int32_t> lengths, int cp);

}  // namespace trireme::data
