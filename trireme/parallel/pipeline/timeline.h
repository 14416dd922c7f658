// What ranks did in a step, beside what was simulated: the same form, so that the same printers and
// figures serve for both.
#pragma once

#include <string>
#include <vector>

#include "trireme/parallel/pipeline/simulate.h"

namespace trireme::parallel::pipeline {

// Of actions as they were timed, by rank, on one clock: times from the first action on. What ranks
// held was not measured: 0.
Simulation measured(std::vector<std::vector<TimedAction>> ranks);

// Median times of each chunk's F, B and W in a measured step, for simulate() to predict another
// one. BW counts as B and W in halves. Activations stay at their defaults.
Costs measured_costs(const Schedule& schedule, const Simulation& step);

// A rank's timeline as one line of text, and back: how ranks exchange them. Throws run_error for
// what to_text() does not write.
std::string to_text(const std::vector<TimedAction>& timeline);
std::vector<TimedAction> timeline_from_text(const std::string& text);

}  // namespace trireme::parallel::pipeline
