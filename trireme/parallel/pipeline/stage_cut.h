// Where the model is cut into the chunks of a pipeline.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace trireme::parallel::pipeline {

// Cuts units (embedding, blocks, head; in the model's order) into `chunks` runs of at least one
// unit, so that the most costly run costs as little as can be; of the cuts that do, the one of most
// equal runs (least sum of squares). Exact, by dynamic programming: O(chunks units^2). Returns the
// first unit of each chunk, and the number of units at the end. costs >= 0, of any unit: measured
// times or floating point operations. Throws input_error for fewer units than chunks.
//
//   cut_units(std::vector<double>{1, 4, 4, 4, 4, 12}, 2)  // {0, 4, 6}
std::vector<size_t> cut_units(std::span<const double> costs, int chunks);

}  // namespace trireme::parallel::pipeline
