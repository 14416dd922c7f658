// Who holds what in a layout: for the table that training prints when it starts, and what it says
// of the plan when it ends. Pure.
#pragma once

#include <string>
#include <vector>

#include "trireme/plan/plan.h"

namespace trireme::plan {

// Ranks that hold parts of one size: those of a stage and tp place.
struct Holder {
  int64_t stage = 0, tp_rank = 0;
  std::string ranks;  // "0, 2" or "0-3, 8-11"
  std::string units;  // "embeddings .. h.5"; several chunks with commas
  HeldBytes held;
};

// `units`: of the whole model; with stages, tied tables are Params of their own (nn::Tie). Leaves
// the Params' slices as they were.
std::vector<Holder> holders(const std::vector<nn::UnitParams>& units, Dtype dtype,
                            const parallel::Layout& layout, int64_t ranks_per_host);
std::string table(const std::vector<Holder>& holders);

// What was measured of a run.
struct Measured {
  double tokens_per_s = 0;
  std::vector<int64_t> peak_rss_bytes;  // by rank
};
// "planned 0.52 s a step, measured 0.50 (-4 %); ..."
std::string compare(const Plan& plan, const Measured& measured);

}  // namespace trireme::plan
