// Stopping and going on changes nothing: not the losses, not the weights, not the data order.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "tests/checkpoint/run.h"
#include "tests/train/fake_task.h"
#include "trireme/base/error.h"
#include "trireme/train/trainer.h"

namespace trireme::train {
namespace {

using testing::expect_same_weights;
using ::testing::HasSubstr;
using testing::RunSpec;
using testing::Settings;
using testing::TempDir;
using testing::train_fake;
using testing::Trained;

// Ranks, precision and ZeRO stage.
class Resume : public ::testing::TestWithParam<std::tuple<int, const char*, int>> {
 protected:
  static Settings shared_settings() {
    const auto [ranks, precision, stage] = GetParam();
    return {std::string("train.precision=") + precision, cat("parallel.zero=", stage),
            "eval.every=5"};
  }
};

TEST_P(Resume, AfterAnyStepIsBitExact) {
  const int ranks = std::get<0>(GetParam());
  Settings shared = shared_settings();
  shared.emplace_back("optim.warmup_steps=2");
  const Trained whole = train_fake({.settings = shared, .ranks = ranks});
  for (const int64_t stop : {1, 4, 5, 6, 11}) {  // 5: where an epoch ends and an evaluation is due
    const TempDir dir;
    Settings settings = shared;
    settings.push_back("checkpoint.dir=" + dir.path());
    Settings first = settings;
    first.push_back("train.stop_at=" + std::to_string(stop));
    train_fake({.settings = first, .ranks = ranks});
    const Trained rest =
        train_fake({.settings = settings, .ranks = ranks, .options = {.resume = dir.path()}});
    EXPECT_EQ(rest.steps.size(), 12U - static_cast<size_t>(stop));
    EXPECT_EQ(rest.result.losses, whole.result.losses) << stop;
    EXPECT_EQ(rest.result.eval, whole.result.eval) << stop;
    EXPECT_EQ(rest.result.best, whole.result.best) << stop;
    expect_same_weights(rest, whole);
  }
}

TEST_P(Resume, AfterAnInterruptIsBitExact) {
  const int ranks = std::get<0>(GetParam());
  const Settings shared = shared_settings();
  const Trained whole = train_fake({.settings = shared, .ranks = ranks});
  for (const int64_t wish : {2, 4}) {
    const TempDir dir;
    Settings settings = shared;
    settings.push_back("checkpoint.dir=" + dir.path());
    // Only the last rank is asked to stop; the wish travels with the next step's loss.
    const auto wishes = [wish, last = ranks - 1](int rank, int64_t step) {
      return rank == last && step == wish;
    };
    const Trained first = train_fake({.settings = settings, .ranks = ranks, .stop_wish = wishes});
    EXPECT_EQ(first.interrupted, std::vector<bool>(static_cast<size_t>(ranks), true));
    EXPECT_EQ(first.result.step, wish + 1);
    EXPECT_THROW(first.result.check_not_interrupted(), Error);
    const Trained rest = train_fake(
        {.settings = settings, .ranks = ranks, .options = {.resume = first.result.checkpoint}});
    EXPECT_FALSE(rest.result.interrupted);
    EXPECT_EQ(rest.result.losses, whole.result.losses) << wish;
    EXPECT_EQ(rest.result.best, whole.result.best) << wish;
    expect_same_weights(rest, whole);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Resume,
                         ::testing::Combine(::testing::Values(1, 2),
                                            ::testing::Values("fp32", "bf16"),
                                            ::testing::Values(0)));
INSTANTIATE_TEST_SUITE_P(Zero, Resume,
                         ::testing::Combine(::testing::Values(3), ::testing::Values("fp32", "bf16"),
                                            ::testing::Values(1, 3)));

TEST(ResumeInAnotherLayout, UsesEverySampleOnceAndStaysClose) {
  const Settings shared = {"train.epochs=3", "train.steps=0"};
  const Trained whole = train_fake({.settings = shared});
  ASSERT_EQ(whole.steps.size(), 15U);

  const TempDir dir;
  Settings settings = shared;
  settings.push_back("checkpoint.dir=" + dir.path());
  std::vector<std::vector<int64_t>> used;
  std::string from;
  Trained last;
  struct Part {
    int ranks;
    int64_t until;
    int zero;
  };
  for (const auto& [ranks, until, zero] : {Part{1, 3, 0}, Part{2, 4, 3}, Part{4, 9, 1},
                                           Part{3, 11, 2}, Part{3, 13, 0}, Part{1, 15, 3}}) {
    Settings part = settings;
    part.push_back(cat("train.stop_at=", until));
    part.push_back(cat("parallel.zero=", zero));
    part.push_back(cat("parallel.recompute=", zero == 3 ? "true" : "false"));
    last = train_fake({.settings = part, .ranks = ranks, .options = {.resume = from}});
    for (const StepInfo& step : last.steps) used.push_back(step.samples);
    from = dir.path();
  }
  ASSERT_EQ(used.size(), 15U);
  std::map<int64_t, int> times;
  for (size_t i = 0; i < used.size(); ++i) {
    EXPECT_EQ(used[i], whole.steps[i].samples) << i;
    EXPECT_NEAR(last.result.losses[i], whole.result.losses[i], 1e-4) << i;
    for (const int64_t sample : used[i]) ++times[sample];
  }
  EXPECT_EQ(times.size(), 23U);
  for (const auto& [sample, count] : times) EXPECT_EQ(count, 3) << sample;
}

std::string refusal(const Settings& settings, const std::string& from,
                    testing::FakeOptions task = {}) {
  try {
    train_fake(
        {.settings = settings, .task = std::move(task), .ranks = 2, .options = {.resume = from}});
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInput) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "resumed";
  return "";
}

// Rank 0 cannot write while the others send: all of them say why, and nobody waits.
TEST(SaveOfShards, ThatFailsOnRankZeroFailsEverywhere) {
  const TempDir dir;
  ensure_dir(dir.file("step-00000003"));
  write_file_atomic(dir.file("step-00000003/thesis.txt"), "years of work");
  try {
    train_fake({.settings = {"parallel.zero=3", "checkpoint.dir=" + dir.path(), "train.stop_at=3"},
                .ranks = 3});
    ADD_FAILURE() << "saved";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("step-00000003"));
  }
  EXPECT_EQ(read_file(dir.file("step-00000003/thesis.txt")), "years of work");
}

TEST(ResumeRefuses, WhatIsNotTheSameRun) {
  const TempDir dir;
  const std::string saved = "checkpoint.dir=" + dir.path();
  train_fake({.settings = {saved, "train.stop_at=4"}});
  const std::string& from = dir.path();
  EXPECT_THAT(refusal({"optim.lr=0.5"}, from), HasSubstr("optim.lr = 0.5"));
  EXPECT_THAT(refusal({"train.seed=9"}, from), HasSubstr("train.seed"));
  EXPECT_THAT(refusal({"train.stop_at=3"}, from), HasSubstr("step 4 already"));
  EXPECT_THAT(refusal({}, from, {.samples = 22}), HasSubstr("another data.samples"));
  EXPECT_THAT(refusal({}, from, {.content = "corrected"}), HasSubstr("another data.content"));
  EXPECT_THAT(refusal({}, from, {.dropout = 0.3}), HasSubstr("another model.dropout"));
  EXPECT_THAT(refusal({}, dir.file("nothing")), HasSubstr("nothing"));
}

TEST(ResumeFromAnOlderStep, SetsTheLaterOnesAside) {
  const TempDir dir;
  const Settings settings = {"checkpoint.dir=" + dir.path(), "checkpoint.every=4",
                             "checkpoint.keep=5"};
  const Trained whole = train_fake({.settings = settings});
  const Trained again =
      train_fake({.settings = settings, .options = {.resume = dir.file("step-00000004")}});
  EXPECT_EQ(again.result.losses, whole.result.losses);
  EXPECT_TRUE(std::filesystem::exists(dir.file("earlier-1/step-00000012")));
  EXPECT_TRUE(std::filesystem::exists(dir.file("step-00000012")));
}

TEST(ResumeIntoAnotherFolder, LeavesThatFoldersRunWhole) {
  const TempDir from, into;
  const auto settings = [](const TempDir& dir, const char* rest) {
    return Settings{"checkpoint.dir=" + dir.path(), "checkpoint.every=4", "checkpoint.keep=1",
                    rest};
  };
  train_fake({.settings = settings(into, "train.stop_at=4")});
  train_fake({.settings = settings(from, "train.stop_at=8")});
  train_fake({.settings = settings(into, "train.stop_at=12"), .options = {.resume = from.path()}});
  EXPECT_TRUE(std::filesystem::exists(into.file("earlier-1/step-00000004")));
  EXPECT_TRUE(std::filesystem::exists(into.file("step-00000012")));
  EXPECT_TRUE(std::filesystem::exists(from.file("step-00000008")));
}

TEST(Resume, FromItsOwnFolderByAnotherName) {
  const TempDir dir;
  const std::string there =
      dir.path() + "/../" + std::filesystem::path(dir.path()).filename().string();
  train_fake({.settings = {"checkpoint.dir=" + dir.path(), "train.stop_at=4"}});
  train_fake({.settings = {"checkpoint.dir=" + there, "checkpoint.keep=9"},
              .options = {.resume = dir.path()}});
  EXPECT_TRUE(std::filesystem::exists(dir.file("step-00000004")));
  EXPECT_TRUE(std::filesystem::exists(dir.file("step-00000012")));
}

}  // namespace
}  // namespace trireme::train
