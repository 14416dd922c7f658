#include "trireme/train/meters.h"

#include <gtest/gtest.h>

#include <thread>

#include "trireme/base/error.h"
#include "trireme/comm/testing.h"
#include "trireme/train/rank_zero.h"

namespace trireme::train {
namespace {

TEST(Throughput, LeavesTheFirstStepsOutAndTakesTheMedianOfBlocks) {
  Throughput meter;
  EXPECT_EQ(meter.median(), 0);
  EXPECT_EQ(meter.recent(), 0);
  meter.add_step(100, 1.0);
  EXPECT_EQ(meter.median(), 100);  // there is nothing else
  for (int i = 1; i < Throughput::kWarmupSteps; ++i) meter.add_step(100, 1.0);
  for (const double seconds : {0.1, 0.5, 0.2}) {
    for (int i = 0; i < Throughput::kBlockSteps; ++i) meter.add_step(100, seconds);
  }
  EXPECT_NEAR(meter.median(), 500, 1e-9);
  EXPECT_NEAR(meter.mean(), 3000 / 8.0, 1e-9);
  EXPECT_NEAR(meter.recent(), 500, 1e-9);
  meter.add_step(100, 100);  // a block that is not whole
  EXPECT_NEAR(meter.median(), 500, 1e-9);
  EXPECT_LT(meter.recent(), 20);
}

TEST(PhaseClock, EveryMomentBelongsToOnePhase) {
  FakeClock clock;
  PhaseClock phases(clock);
  clock.advance_s(1);
  phases.enter(Phase::kForward);
  clock.advance_s(2);
  phases.enter(Phase::kBackward);
  clock.advance_s(4);
  phases.enter(Phase::kForward);
  clock.advance_s(8);
  const Json seconds = phases.seconds();
  double total = 0;
  for (const auto& [name, value] : seconds.items()) total += value.get<double>();
  EXPECT_NEAR(total, 15, 1e-9) << seconds;
  EXPECT_NEAR(seconds.at("forward_s").get<double>(), 10, 1e-9);
  EXPECT_NEAR(seconds.at("backward_s").get<double>(), 4, 1e-9);
}

TEST(ProcessMemory, CountsWhatIsTouched) {
  const ProcessMemory before = process_memory();
  EXPECT_GT(before.private_bytes, 0);
  EXPECT_GE(before.peak_rss_bytes, before.private_bytes);
  constexpr size_t kBytes = 64 << 20;
  const std::string touched(kBytes, 'x');
  const ProcessMemory after = process_memory();
  EXPECT_GE(after.private_bytes - before.private_bytes, static_cast<int64_t>(kBytes * 9 / 10));
  EXPECT_GE(after.peak_rss_bytes, after.private_bytes);
  EXPECT_EQ(touched.back(), 'x');
}

TEST(OnRankZero, GivesEveryRankTheResultOrTheError) {
  comm::run_ranks(3, [](comm::World& world) {
    int calls = 0;
    EXPECT_EQ(on_rank_zero(world.world_group(), "a",
                           [&] {
                             ++calls;
                             return std::string("made");
                           }),
              "made");
    EXPECT_EQ(calls, world.rank() == 0 ? 1 : 0);
    try {
      on_rank_zero(world.world_group(), "b",
                   []() -> std::string { throw input_error("no such folder"); });
      ADD_FAILURE() << "rank " << world.rank();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInput);
      EXPECT_STREQ(e.what(), "no such folder");
    }
  });
}

TEST(OnRankZero, MayTakeLongerThanAnOperation) {
  comm::WorldOptions options;
  options.timeout_s = 0.3;
  const auto save = [] {
    std::this_thread::sleep_for(std::chrono::milliseconds(900));
    return std::string("saved");
  };
  comm::run_ranks(
      2,
      [&](comm::World& world) {
        EXPECT_EQ(on_rank_zero(world.world_group(), "save", save), "saved");
      },
      options);
}

}  // namespace
}  // namespace trireme::train
