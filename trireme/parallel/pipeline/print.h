// Pipeline schedules to look at: a grid for the terminal, and Chrome's trace format
// (chrome://tracing, https://ui.perfetto.dev).
#pragma once

#include <string>
#include <vector>

#include "trireme/base/json.h"
#include "trireme/parallel/pipeline/simulate.h"
#include "trireme/parallel/pipeline/validate.h"

namespace trireme::parallel::pipeline {

struct GridOptions {
  bool color = false;    // the output is a terminal
  int max_columns = 0;   // of text a line, what is beyond is cut off with "..."; 0: no limit
  double slot_time = 0;  // of a column of the grid; 0: the shortest compute action
};

// Ranks x time: every compute action begins in its time slot and is as long as it takes.
//
//   rank 0 | F0  F1  .   .   BW0 --- F2  ...
//   rank 1 | .   F0  BW0 --- F1  ...
//
// "." is a slot of nothing, "---" a slot in which the action before goes on.
std::string time_grid(const Schedule& schedule, const Simulation& simulation,
                      const GridOptions& options = {});

// Ranks x order, messages included: of a schedule that is not valid, with the cell that is wrong in
// [brackets] and what is wrong with it below.
std::string order_grid(const Schedule& schedule, const Fault* fault = nullptr,
                       const GridOptions& options = {});

// Rows of a trace under one heading: "simulated", "measured".
struct TraceProcess {
  std::string name;
  std::vector<std::vector<TimedAction>> ranks;
  double seconds_per_unit = 1;  // of the times
};

// One process a heading, one thread a rank, messages beside their rank's row.
Json chrome_trace(const Schedule& schedule, const std::vector<TraceProcess>& processes);

}  // namespace trireme::parallel::pipeline
