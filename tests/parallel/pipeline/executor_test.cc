// The executor against the loop without a pipeline: losses and gradients have the same bits, in
// every schedule, at every number of ranks and micro-batches.
#include "trireme/parallel/pipeline/executor.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>

#include "tests/parallel/pipeline/small_pipeline.h"
#include "trireme/base/error.h"
#include "trireme/comm/testing.h"
#include "trireme/parallel/pipeline/timeline.h"

namespace trireme::parallel::pipeline {
namespace {

// Soon enough to see which rank a test hangs in.
comm::WorldOptions soon() {
  comm::WorldOptions options;
  options.timeout_s = 30;
  return options;
}

using ::testing::HasSubstr;
using testing::piped_config;
using testing::PipedBatches;
using testing::PipedOptions;
using testing::PipedRank;
using testing::PipedResult;
using testing::unpiped;

// What all ranks of a pipeline make of a step together.
PipedResult piped(comm::World& world, const Schedule& schedule, const PipedOptions& options,
                  PipedResult& shared, std::mutex& mutex) {
  PipedRank rank(world.world_group(), schedule.rank_of_chunk, options);
  const PipedBatches batches(schedule.micro_batches, options);
  const StepLosses losses = rank.step(schedule, batches.micro_batches);
  {
    const std::lock_guard lock(mutex);
    if (!losses.by_micro_batch.empty()) {
      shared.losses = losses.by_micro_batch;
      shared.loss = losses.sum;
    }
    for (const auto& engine : rank.engines()) shared.add_gradients(*engine);
  }
  world.world_group().barrier("step");
  const std::lock_guard lock(mutex);
  return shared;
}

void expect_same_bits(const PipedResult& got, const PipedResult& want, const std::string& what) {
  EXPECT_EQ(got.losses, want.losses) << what;
  EXPECT_EQ(got.loss, want.loss) << what;
  ASSERT_EQ(got.gradients.size(), want.gradients.size()) << what;
  for (const auto& [name, gradient] : want.gradients) {
    ASSERT_TRUE(got.gradients.count(name)) << what << ": " << name;
    EXPECT_TRUE(at::equal(got.gradients.at(name), gradient)) << what << ": " << name;
  }
}

void expect_all_schedules_equal(int S, const std::vector<int>& counts, const PipedOptions& options,
                                const std::vector<std::string>& names = schedule_names()) {
  std::map<int, PipedResult> want;
  for (const int M : counts) want[M] = unpiped(M, options);
  std::mutex mutex;
  std::map<std::string, PipedResult> results;
  comm::run_ranks(
      S,
      [&](comm::World& world) {
        for (const std::string& name : names) {
          for (const int M : counts) {
            const Schedule schedule = make_schedule(name, {S, M, 2});
            const std::string what = cat(name, " S ", S, " M ", M);
            PipedResult* shared = nullptr;
            {
              const std::lock_guard lock(mutex);
              shared = &results[what];
            }
            const PipedResult got = piped(world, schedule, options, *shared, mutex);
            if (world.rank() == 0) expect_same_bits(got, want.at(M), what);
            world.world_group().barrier("compared");
          }
        }
      },
      soon());
}

const std::vector<int> kAllCounts = {1, 2, 3, 4, 5, 6, 7, 8};

TEST(Executor, OneRankGivesTheBitsOfNoPipeline) {
  expect_all_schedules_equal(1, kAllCounts, {});
}
TEST(Executor, TwoRanksGiveTheBitsOfNoPipeline) {
  expect_all_schedules_equal(2, kAllCounts, {});
}
TEST(Executor, ThreeRanksGiveTheBitsOfNoPipeline) {
  expect_all_schedules_equal(3, kAllCounts, {});
}
TEST(Executor, FourRanksGiveTheBitsOfNoPipeline) {
  expect_all_schedules_equal(4, kAllCounts, {});
}

TEST(Executor, RecomputeAndBf16GiveTheSameBits) {
  expect_all_schedules_equal(2, {5}, {.recompute = true});
  expect_all_schedules_equal(3, {4}, {.dtype = at::kBFloat16});
}

TEST(Executor, ShardedEnginesGiveTheSameBits) {
  expect_all_schedules_equal(2, {5}, {.zero_stage = 1});
  // From stage 2 on a micro-batch's gradients are summed before the next one's come.
  expect_all_schedules_equal(2, {5}, {.zero_stage = 2}, {"gpipe", "1f1b", "interleaved"});
}

TEST(Executor, SeveralStepsAndAWrittenScheduleGiveTheSameBits) {
  // All backward of a micro-batch at once on rank 0, split on rank 1.
  const Schedule mixed{"mixed",
                       2,
                       {0, 1},
                       {{{ActionKind::kForward, 0, 0},
                         {ActionKind::kForward, 1, 0},
                         {ActionKind::kBackward, 0, 0},
                         {ActionKind::kBackward, 1, 0}},
                        {{ActionKind::kForward, 0, 1},
                         {ActionKind::kBackwardInput, 0, 1},
                         {ActionKind::kForward, 1, 1},
                         {ActionKind::kBackwardInput, 1, 1},
                         {ActionKind::kBackwardWeight, 0, 1},
                         {ActionKind::kBackwardWeight, 1, 1}}}};
  const PipedResult want = unpiped(2, {});
  comm::run_ranks(2, [&](comm::World& world) {
    PipedRank rank(world.world_group(), mixed.rank_of_chunk, {});
    const PipedBatches batches(2, {});
    for (int step = 0; step < 3; ++step) {
      const StepLosses losses = rank.step(mixed, batches.micro_batches);
      PipedResult mine;
      for (const auto& engine : rank.engines()) mine.add_gradients(*engine);
      for (const auto& [name, gradient] : mine.gradients) {
        EXPECT_TRUE(at::equal(gradient, want.gradients.at(name))) << name;
      }
      if (world.rank() == 1) {
        EXPECT_EQ(losses.by_micro_batch, want.losses);
      }
      if (world.rank() == 0) {
        EXPECT_TRUE(losses.by_micro_batch.empty());
      }
    }
  });
}

TEST(Executor, ForwardAloneGivesTheOutputsInOrder) {
  for (const char* name : {"1f1b", "interleaved", "zbv"}) {
    for (int S = 1; S <= 4; ++S) {
      const Schedule schedule = make_schedule(name, {S, 5, 2});
      PipedBatches batches(5, {});
      for (auto& micro : batches.micro_batches) {
        micro.context.labels = at::Tensor();
        micro.context.training = false;
      }
      std::vector<at::Tensor> want;
      {
        models::Gpt2LmHeadModel model(piped_config());
        const auto world = comm::World::single();
        Engine engine(model.units(), world->world_group(), {});
        engine.init(7);
        const at::NoGradGuard no_grad;
        for (const auto& micro : batches.micro_batches) {
          nn::Context context = micro.context;
          want.push_back(model.forward(context));
        }
      }
      comm::run_ranks(S, [&](comm::World& world) {
        PipedRank rank(world.world_group(), schedule.rank_of_chunk, {});
        std::vector<at::Tensor> outputs;
        rank.executor().run_forward(schedule.rank_of_chunk, batches.micro_batches,
                                    [&](int m, const at::Tensor& output) {
                                      EXPECT_EQ(m, static_cast<int>(outputs.size()));
                                      outputs.push_back(output);
                                    });
        const bool last = schedule.rank_of_chunk.back() == world.rank();
        ASSERT_EQ(outputs.size(), last ? 5U : 0U);
        for (size_t m = 0; m < outputs.size(); ++m) EXPECT_TRUE(at::equal(outputs[m], want[m]));
      });
    }
  }
}

TEST(Executor, AnErrorOnOneRankLeavesNoneHanging) {
  const auto begin = std::chrono::steady_clock::now();
  std::atomic<int> failed{0};
  const Schedule schedule = one_f_one_b(3, 6);
  try {
    comm::run_ranks(3, [&](comm::World& world) {
      PipedRank rank(world.world_group(), schedule.rank_of_chunk, {});
      PipedBatches batches(6, {});
      batches.micro_batches[2].loss = [](const at::Tensor&, const nn::Context&) -> at::Tensor {
        throw run_error("no loss today");
      };
      try {
        rank.step(schedule, batches.micro_batches);
      } catch (...) {
        ++failed;
        throw;
      }
    });
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no loss today"));
  }
  EXPECT_EQ(failed, 3);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

TEST(Executor, AFailedStepLeavesACleanStart) {
  const auto world = comm::World::single();
  const PipedResult want = unpiped(3, {});
  const Schedule schedule = zbv(1, 3);
  PipedRank rank(world->world_group(), schedule.rank_of_chunk, {});
  PipedBatches batches(3, {});
  const auto loss = batches.micro_batches[1].loss;
  batches.micro_batches[1].loss = [](const at::Tensor&, const nn::Context&) -> at::Tensor {
    throw run_error("no loss today");
  };
  EXPECT_THROW(rank.step(schedule, batches.micro_batches), Error);
  batches.micro_batches[1].loss = loss;
  const StepLosses losses = rank.step(schedule, batches.micro_batches);
  PipedResult got{losses.by_micro_batch, losses.sum, {}};
  for (const auto& engine : rank.engines()) got.add_gradients(*engine);
  expect_same_bits(got, want, "after a failed step");
}

TEST(Executor, WhatDoesNotFitIsRefused) {
  const auto world = comm::World::single();
  PipedRank rank(world->world_group(), {0}, {});
  const PipedBatches batches(2, {});
  const auto refused = [&](const Schedule& schedule, const char* says) {
    try {
      rank.step(schedule, batches.micro_batches);
      FAIL() << says;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInput);
      EXPECT_THAT(error.what(), HasSubstr(says));
    }
  };
  refused(gpipe(2, 2), "is for 2 ranks, and there are 1");
  refused(gpipe(1, 3), "is for 3 micro-batches, and the step has 2");
  refused(zbv(1, 2), "places other chunks on rank 0");
  Schedule broken = gpipe(1, 2);
  std::swap(broken.actions[0][0], broken.actions[0][3]);
  refused(broken, "F1 must come before it");
  EXPECT_EQ(rank.step(gpipe(1, 2), batches.micro_batches).by_micro_batch.size(), 2U);
}

TEST(Executor, TheTimelineHasEveryActionInItsOrder) {
  const Schedule schedule = zb_h1(2, 4);
  std::vector<std::vector<TimedAction>> ranks(2);
  comm::run_ranks(2, [&](comm::World& world) {
    PipedRank rank(world.world_group(), schedule.rank_of_chunk, {});
    const PipedBatches batches(4, {});
    rank.step(schedule, batches.micro_batches);
    ranks[static_cast<size_t>(world.rank())] = rank.executor().timeline();
    world.world_group().barrier("done");
  });
  const Simulation simulated = simulate(schedule, {}), step = measured(ranks);
  for (size_t rank = 0; rank < 2; ++rank) {
    ASSERT_EQ(step.ranks[rank].size(), simulated.ranks[rank].size());
    double before = 0;
    for (size_t i = 0; i < step.ranks[rank].size(); ++i) {
      const TimedAction& timed = step.ranks[rank][i];
      EXPECT_EQ(timed.action, simulated.ranks[rank][i].action);
      EXPECT_GE(timed.start, is_compute(timed.action.kind) ? before : -1.0);
      EXPECT_GE(timed.end, timed.start);
      before = timed.end;
    }
  }
  EXPECT_GT(step.bubble(), 0);
  EXPECT_LT(step.bubble(), 1);
}

}  // namespace
}  // namespace trireme::parallel::pipeline
