#include "trireme/train/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "tests/checkpoint/run.h"
#include "tests/train/fake_task.h"
#include "trireme/base/error.h"

namespace trireme::train {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::expect_same_weights;
using ::testing::HasSubstr;
using testing::RunSpec;
using testing::TempDir;
using testing::train_fake;
using testing::Trained;

std::string error_of(const RunSpec& run, ErrorKind kind) {
  try {
    train_fake(run);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

// Ranks, tokens of a micro-batch, precision.
class TrainerLayouts : public ::testing::TestWithParam<std::tuple<int, int, const char*>> {};

TEST_P(TrainerLayouts, EqualsOneProcess) {
  const auto [ranks, tokens, precision] = GetParam();
  const std::string arithmetic = std::string("train.precision=") + precision;
  const Trained single =
      train_fake({.settings = {"train.steps=20", "data.micro_batch_tokens=4096", arithmetic}});
  const Trained split =
      train_fake({.settings = {"train.steps=20",
                               "data.micro_batch_tokens=" + std::to_string(tokens), arithmetic},
                  .ranks = ranks});
  const bool bf16 = std::string(precision) == "bf16";
  ASSERT_EQ(split.result.losses.size(), 20U);
  EXPECT_NEAR(split.result.losses[0], single.result.losses[0], bf16 ? 2e-3 : 1e-5);
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_NEAR(split.result.losses[i], single.result.losses[i], bf16 ? 2e-2 : 1e-4) << i;
    EXPECT_EQ(split.steps[i].samples, single.steps[i].samples) << i;
    EXPECT_EQ(split.steps[i].lr, single.steps[i].lr) << i;
    EXPECT_NEAR(split.steps[i].grad_norm, single.steps[i].grad_norm,
                (bf16 ? 2e-2 : 1e-4) * single.steps[i].grad_norm)
        << i;
  }
  EXPECT_LT(single.result.losses.back(), single.result.losses.front());
}

INSTANTIATE_TEST_SUITE_P(All, TrainerLayouts,
                         ::testing::Combine(::testing::Values(1, 2, 4), ::testing::Values(64, 4096),
                                            ::testing::Values("fp32", "bf16")));

TEST(Trainer, ZeroStagesEqualOneProcess) {
  const Trained single = train_fake({.settings = {"train.steps=20"}});
  for (const int stage : {1, 2, 3}) {
    SCOPED_TRACE(stage);
    const Trained split =
        train_fake({.settings = {"train.steps=20", cat("parallel.zero=", stage),
                                 "parallel.recompute=true", "data.micro_batch_tokens=64"},
                    .ranks = 3});
    for (size_t i = 0; i < 20; ++i) {
      EXPECT_NEAR(split.result.losses[i], single.result.losses[i], 1e-4) << i;
      EXPECT_NEAR(split.steps[i].grad_norm, single.steps[i].grad_norm,
                  1e-4 * single.steps[i].grad_norm)
          << i;
    }
    for (const auto& [name, value] : single.weights) {
      EXPECT_TRUE(at::allclose(value, split.weights.at(name), 1e-3, 1e-4)) << name;
    }
  }
}

// Rank 0 alone reads, every rank gets its part.
TEST(Trainer, LoadedWeightsReachEveryShard) {
  RunSpec run{.settings = {"train.steps=1", "optim.lr=1e-12"}};
  run.options.open_weights = [] {
    return [](const std::string&, const at::Tensor& whole) {
      whole.copy_(at::arange(1, whole.numel() + 1).view(whole.sizes()) * 0.01);
    };
  };
  const Trained single = train_fake(run);
  for (const int stage : {1, 2, 3}) {
    RunSpec sharded = run;
    sharded.ranks = 3;
    sharded.settings.push_back(cat("parallel.zero=", stage));
    expect_same_weights(train_fake(sharded), single);
  }
}

TEST(Trainer, RepeatsItselfBitForBit) {
  const RunSpec run{.settings = {"train.precision=bf16"}, .ranks = 2};
  const Trained a = train_fake(run), b = train_fake(run);
  EXPECT_EQ(a.result.losses, b.result.losses);
  expect_same_weights(a, b);
  RunSpec other = run;
  other.settings.emplace_back("train.seed=2");
  EXPECT_NE(train_fake(other).result.losses, a.result.losses);
}

// The mean over the tokens of the whole batch, not a mean of the micro-batches' means: with
// everything dropped from the model but its biases, the loss has a closed form.
TEST(Trainer, LossIsTheMeanOverAllTokens) {
  RunSpec run{.settings = {"train.steps=1", "optim.lr=1e-9"}, .task = {.dropout = 0}};
  run.options.open_weights = [] {
    return [](const std::string& name, const at::Tensor& whole) {
      whole.zero_();
      if (name == "head.dense.bias") whole[1] = 2.0;
    };
  };
  const Trained trained = train_fake(run);
  int64_t tokens = 0, ones = 0;
  const testing::FakeTask task;
  for (const int64_t sample : trained.steps.at(0).samples) {
    for (int64_t i = 0; i < task.train_length(sample); ++i, ++tokens) {
      ones += (sample * 31 + i * 17) % 61 % testing::kOutputs == 1 ? 1 : 0;
    }
  }
  const double log_sum = std::log(2 + std::exp(2.0));
  EXPECT_NEAR(trained.result.losses[0],
              log_sum - 2.0 * static_cast<double>(ones) / static_cast<double>(tokens), 1e-6);
}

TEST(Trainer, EverySampleOnceAnEpoch) {
  const Trained trained = train_fake(
      {.settings = {"train.epochs=3", "train.steps=0", "data.global_batch_samples=5"}, .ranks = 2});
  ASSERT_EQ(trained.steps.size(), 15U);  // 23 samples: four batches of five, one of three
  std::vector<std::vector<int64_t>> epochs(3);
  for (size_t i = 0; i < trained.steps.size(); ++i) {
    std::vector<int64_t>& epoch = epochs[i / 5];
    epoch.insert(epoch.end(), trained.steps[i].samples.begin(), trained.steps[i].samples.end());
  }
  EXPECT_NE(epochs[0], epochs[1]);
  for (std::vector<int64_t>& epoch : epochs) {
    std::sort(epoch.begin(), epoch.end());
    ASSERT_EQ(epoch.size(), 23U);
    for (int64_t i = 0; i < 23; ++i) EXPECT_EQ(epoch[static_cast<size_t>(i)], i);
  }
}

TEST(Trainer, NonFiniteLossNamesStepRankAndSamples) {
  for (const int ranks : {1, 2}) {
    const std::string message =
        error_of({.settings = {"train.steps=5", cat("parallel.zero=", ranks == 2 ? 3 : 0)},
                  .task = {.poisoned = 7},
                  .ranks = ranks},
                 ErrorKind::kRun);
    EXPECT_THAT(message, AllOf(HasSubstr("step "), HasSubstr("the loss is"), HasSubstr("rank "),
                               HasSubstr("had training samples"), HasSubstr("7"),
                               HasSubstr("nothing was updated")));
  }
}

TEST(Trainer, WeightsThatWereNotFiniteAreNamed) {
  RunSpec run;
  run.options.open_weights = [] {
    return [](const std::string& name, const at::Tensor& whole) {
      whole.fill_(name == "head.dense.bias" ? NAN : 0);
    };
  };
  EXPECT_THAT(error_of(run, ErrorKind::kRun),
              AllOf(HasSubstr("step 1"), HasSubstr("parameter head.dense.bias")));
}

TEST(Trainer, StopsEarlyAndKeepsTheBest) {
  const TempDir dir;
  const Trained trained = train_fake(
      {.settings = {"train.steps=100", "eval.every=2", "checkpoint.keep=1",
                    "train.early_stop_patience=3", "data.dev=some", "checkpoint.dir=" + dir.path()},
       .task = {.scores = {10, 30, 20, 25, 29, 40}},
       .ranks = 2});
  EXPECT_TRUE(trained.result.stopped_early);
  EXPECT_FALSE(trained.result.interrupted);
  EXPECT_EQ(trained.result.step, 10);
  EXPECT_EQ(trained.result.best, (Json{{"score", 30.0}, {"step", 4}}));
  EXPECT_EQ(trained.result.eval, (Json{{"score", 29.0}}));
  std::vector<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    left.push_back(entry.path().filename());
  }
  std::sort(left.begin(), left.end());
  EXPECT_THAT(left, ElementsAre("step-00000004", "step-00000010"));
}

TEST(Trainer, KeepsTheLastCheckpoints) {
  const TempDir dir;
  train_fake({.settings = {"train.steps=12", "checkpoint.every=2", "checkpoint.keep=2",
                           "eval.every=100", "checkpoint.dir=" + dir.path()},
              .task = {.scores = {1}}});
  std::vector<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
    left.push_back(entry.path().filename());
  }
  std::sort(left.begin(), left.end());
  EXPECT_THAT(left, ElementsAre("step-00000010", "step-00000012"));
}

TEST(Trainer, StopAtKeepsTheSchedule) {
  const Trained whole = train_fake({.settings = {"train.steps=12", "optim.warmup_steps=3"}});
  const Trained part =
      train_fake({.settings = {"train.steps=12", "optim.warmup_steps=3", "train.stop_at=5"}});
  ASSERT_EQ(part.steps.size(), 5U);
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(part.steps[i].lr, whole.steps[i].lr) << i;
  EXPECT_LT(whole.steps[0].lr, whole.steps[2].lr);
  EXPECT_LT(whole.steps[11].lr, whole.steps[4].lr);
}

TEST(Trainer, RefusesWhatDoesNotFit) {
  EXPECT_THAT(error_of({.task = {.samples = 0}}, ErrorKind::kInput), HasSubstr("no samples"));
  EXPECT_THAT(error_of({.settings = {"parallel.dp=3"}, .ranks = 2}, ErrorKind::kInput),
              AllOf(HasSubstr("parallel.dp is 3"), HasSubstr("2 ranks")));
}

}  // namespace
}  // namespace trireme::train
