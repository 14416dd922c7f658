#include "trireme/parallel/pipeline/print.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trireme/parallel/pipeline/generators.h"
#include "trireme/parallel/pipeline/messages.h"

namespace trireme::parallel::pipeline {
namespace {

using ::testing::HasSubstr;

TEST(Print, TheGridIsInTime) {
  const Schedule s = one_f_one_b(2, 2);
  EXPECT_EQ(time_grid(s, simulate(s, {})),
            "rank 0 | F0  F1  .   .   BW0 --- .   BW1 ---\n"
            "rank 1 | .   F0  BW0 --- F1  BW1 ---\n");
}

TEST(Print, ChunksAreNamedWhereARankHasSeveral) {
  const Schedule s = zbv(1, 1);
  EXPECT_EQ(time_grid(s, simulate(s, {})), "rank 0 | F0.0 F0.1 B0.1 W0.1 B0.0 W0.0\n");
}

TEST(Print, LongLinesAreCutAndColoursArePut) {
  const Schedule s = one_f_one_b(2, 20);
  const std::string grid = time_grid(s, simulate(s, {}), {.max_columns = 40});
  EXPECT_EQ(grid.find('\n'), 37U);
  EXPECT_THAT(grid, HasSubstr("...\n"));
  const std::string colored = time_grid(s, simulate(s, {}), {.color = true});
  EXPECT_THAT(colored, HasSubstr("\x1b[34mF0\x1b[0m"));
}

TEST(Print, AFaultIsMarkedInItsCell) {
  Schedule s = gpipe(2, 2);
  std::swap(s.actions[0][1], s.actions[0][3]);
  const auto fault = find_fault(s);
  ASSERT_TRUE(fault);
  EXPECT_EQ(order_grid(s, &*fault),
            "rank 0 | F0    [BW1] BW0   F1\n"
            "rank 1 | F0    F1    BW0   BW1\n"
            "rank 0: F1 must come before it\n");
  s = gpipe(2, 2);
  s.actions[1].pop_back();
  const auto missing = find_fault(s);
  ASSERT_TRUE(missing);
  EXPECT_THAT(order_grid(s, &*missing), HasSubstr("[missing]\nrank 1: BW1 is not there"));
}

TEST(Print, TheTraceHasEveryActionOfEveryProcess) {
  const Schedule s = with_messages(one_f_one_b(2, 2));
  const Simulation simulation = simulate(s, {});
  const Json trace = chrome_trace(s, {{"simulated", simulation.ranks, 1e-3}, {"measured", {{}}}});
  int computes = 0, sends = 0;
  for (const Json& event : trace["traceEvents"]) {
    if (event["ph"] != "X") continue;
    (event["cat"] == "SF" || event["cat"] == "SB" ? sends : computes) += 1;
    if (event["name"] == "BW1" && event["tid"] == 0) {
      EXPECT_EQ(event["ts"], 7000.0);
      EXPECT_EQ(event["dur"], 2000.0);
      EXPECT_EQ(event["args"]["micro_batch"], 1);
    }
  }
  EXPECT_EQ(computes, 8);
  EXPECT_EQ(sends, 4);
  EXPECT_THAT(trace.dump(), HasSubstr("\"measured\""));
}

}  // namespace
}  // namespace trireme::parallel::pipeline
