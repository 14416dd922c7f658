#include "trireme/base/clock.h"

#include <gtest/gtest.h>

namespace trireme {
namespace {

TEST(Clock, FakeMovesOnlyWhenTold) {
  FakeClock clock(5);
  EXPECT_EQ(clock.now_ns(), 5);
  clock.advance_ns(10);
  EXPECT_EQ(clock.now_ns(), 15);
  clock.advance_s(1.5);
  EXPECT_EQ(clock.now_ns(), 1'500'000'015);
}

TEST(Clock, SteadyNeverGoesBack) {
  const SteadyClock clock;
  std::int64_t before = clock.now_ns();
  for (int i = 0; i < 1000; ++i) {
    const std::int64_t now = clock.now_ns();
    ASSERT_GE(now, before);
    before = now;
  }
}

TEST(Stopwatch, MeasuresFromItsStartOrRestart) {
  FakeClock clock(100);
  Stopwatch watch(clock);
  EXPECT_EQ(watch.seconds(), 0);
  clock.advance_s(2.5);
  EXPECT_DOUBLE_EQ(watch.seconds(), 2.5);
  watch.restart();
  clock.advance_s(0.25);
  EXPECT_DOUBLE_EQ(watch.seconds(), 0.25);
}

}  // namespace
}  // namespace trireme
