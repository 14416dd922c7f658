// Every layout of a world: which may run, which fit, which is fastest.
//
//   const Search found = search_layouts(input, {.world = 8, .limits = limits, .memory_bytes = m});
//   found.best.front().layout
#pragma once

#include <map>
#include <string>
#include <vector>

#include "trireme/plan/plan.h"

namespace trireme::plan {

struct SearchOptions {
  int64_t world = 1;
  parallel::LayoutLimits limits;
  int64_t memory_bytes = 0;  // of a rank
  size_t shown = 10;
  std::string order = "pp,dp,cp,tp";
};

struct Search {
  std::vector<Plan> best;                  // that fit, the fastest first
  std::map<std::string, int64_t> illegal;  // by reason
  int64_t legal = 0;
  int64_t too_large = 0;   // of those: need more memory
  int64_t least_peak = 0;  // of all legal ones, in bytes
};

// Every pp x dp x cp x tp of the world, with each ZeRO stage where data ranks share, each schedule
// where there are stages, with and without recompute and sequence parallel, both context-parallel
// methods.
std::vector<parallel::Layout> all_layouts(int64_t world, const std::string& order);

Search search_layouts(const PlanInput& input, const SearchOptions& options);

// For people: the best, and why the others are not among them.
std::string table(const Search& search, const SearchOptions& options);
Json to_json(const Search& search);

}  // namespace trireme::plan
