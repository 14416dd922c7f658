#include "trireme/parallel/pipeline/timeline.h"

#include <gtest/gtest.h>

#include "trireme/base/error.h"
#include "trireme/parallel/pipeline/generators.h"

namespace trireme::parallel::pipeline {
namespace {

TEST(Timeline, AMeasuredStepPredictsItself) {
  // What a simulated step looks like to a clock, ...
  Costs costs;
  costs.chunks = {{.forward = 1, .backward_input = 1.5, .backward_weight = 1.5},
                  {.forward = 2, .backward_input = 2, .backward_weight = 2}};
  const Schedule schedule = one_f_one_b(2, 5);
  const Simulation simulated = simulate(schedule, costs);
  auto ranks = simulated.ranks;
  for (auto& rank : ranks) {
    for (TimedAction& timed : rank) {
      timed.start += 100;
      timed.end += 100;
    }
    rank = timeline_from_text(to_text(rank));
  }
  // ... gives its figures, its costs, and from those itself.
  const Simulation step = measured(ranks);
  EXPECT_NEAR(step.makespan, simulated.makespan, 1e-9);
  EXPECT_NEAR(step.bubble(), simulated.bubble(), 1e-9);
  EXPECT_NEAR(step.own_span_bubble(), simulated.own_span_bubble(), 1e-9);
  const Costs again = measured_costs(schedule, step);
  EXPECT_NEAR(again.chunks[0].forward, 1, 1e-9);
  EXPECT_NEAR(again.chunks[1].backward_weight, 2, 1e-9);
  EXPECT_NEAR(simulate(schedule, again).makespan, simulated.makespan, 1e-9);
}

TEST(Timeline, TextThatIsNoneIsRefused) {
  EXPECT_TRUE(timeline_from_text("").empty());
  EXPECT_THROW(timeline_from_text("F 0 0 1"), Error);
  EXPECT_THROW(timeline_from_text("X 0 0 1 2"), Error);
}

}  // namespace
}  // namespace trireme::parallel::pipeline
