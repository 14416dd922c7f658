#include "trireme/parallel/pipeline/timeline.h"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <sstream>

#include "trireme/base/error.h"

namespace trireme::parallel::pipeline {
namespace {

using enum ActionKind;

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

Simulation measured(std::vector<std::vector<TimedAction>> ranks) {
  double origin = std::numeric_limits<double>::infinity();
  for (const auto& rank : ranks) {
    for (const TimedAction& timed : rank) {
      if (is_compute(timed.action.kind)) origin = std::min(origin, timed.start);
    }
  }
  Simulation step;
  for (auto& rank : ranks) {
    double busy = 0;
    for (TimedAction& timed : rank) {
      timed.start -= origin;
      timed.end -= origin;
      if (!is_compute(timed.action.kind)) continue;
      busy += timed.end - timed.start;
      step.makespan = std::max(step.makespan, timed.end);
    }
    step.busy.push_back(busy);
    step.peak_activation.push_back(0);
  }
  step.ranks = std::move(ranks);
  return step;
}

Costs measured_costs(const Schedule& schedule, const Simulation& step) {
  std::map<int, std::array<std::vector<double>, 4>> times;  // by chunk, by kind
  for (const auto& rank : step.ranks) {
    for (const TimedAction& timed : rank) {
      if (!is_compute(timed.action.kind)) continue;
      times[timed.action.chunk][static_cast<size_t>(timed.action.kind)].push_back(timed.end -
                                                                                  timed.start);
    }
  }
  Costs costs;
  for (int chunk = 0; chunk < schedule.chunks(); ++chunk) {
    const auto time = [&](ActionKind kind) {
      return median(times[chunk][static_cast<size_t>(kind)]);
    };
    const double half = time(kBackward) / 2;
    costs.chunks.push_back({.forward = time(kForward),
                            .backward_input = half > 0 ? half : time(kBackwardInput),
                            .backward_weight = half > 0 ? half : time(kBackwardWeight)});
  }
  return costs;
}

std::string to_text(const std::vector<TimedAction>& timeline) {
  std::ostringstream out;
  out.precision(std::numeric_limits<double>::max_digits10);
  for (const auto& [action, start, end] : timeline) {
    out << kind_text(action.kind) << ' ' << action.micro_batch << ' ' << action.chunk << ' '
        << start << ' ' << end << ' ';
  }
  return out.str();
}

std::vector<TimedAction> timeline_from_text(const std::string& text) {
  std::vector<TimedAction> timeline;
  std::istringstream in(text);
  for (std::string kind; in >> kind;) {
    TimedAction timed;
    const auto known = kind_from_text(kind);
    if (!known ||
        !(in >> timed.action.micro_batch >> timed.action.chunk >> timed.start >> timed.end)) {
      throw run_error("a rank's timeline of a pipeline step is not readable");
    }
    timed.action.kind = *known;
    timeline.push_back(timed);
  }
  return timeline;
}

}  // namespace trireme::parallel::pipeline
