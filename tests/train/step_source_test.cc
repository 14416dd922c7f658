#include "trireme/train/step_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/train/fake_task.h"
#include "trireme/base/error.h"

namespace trireme::train {
namespace {

using testing::FakeTask;

std::vector<int32_t> lengths_of(const FakeTask& task) {
  std::vector<int32_t> lengths;
  for (int64_t i = 0; i < task.train_size(); ++i) {
    lengths.push_back(static_cast<int32_t>(task.train_length(i)));
  }
  return lengths;
}

StepSourceOptions options(int dp, int rank) {
  return {.seed = 5,
          .policy = {.global_batch_samples = 7},
          .micro_batch_tokens = 64,
          .dp = dp,
          .dp_rank = rank};
}

TEST(StepSource, RanksShareEachBatchExactly) {
  const FakeTask task;
  const std::vector<int32_t> lengths = lengths_of(task);
  StepSource whole(task, lengths, options(1, 0), 0, {}, 6);
  std::vector<std::unique_ptr<StepSource>> ranks;
  for (int rank = 0; rank < 3; ++rank) {
    ranks.push_back(
        std::make_unique<StepSource>(task, lengths, options(3, rank), 0, data::DataCursor{}, 6));
  }
  for (int64_t step = 0; step < 6; ++step) {
    const StepWork all = whole.next();
    EXPECT_EQ(all.step, step);
    std::multiset<int32_t> ordinals;
    std::set<size_t> counts;
    int64_t tokens = 0;
    for (auto& rank : ranks) {
      const StepWork work = rank->next();
      EXPECT_EQ(work.samples, all.samples);
      EXPECT_EQ(work.counts, all.counts);
      EXPECT_EQ(work.tokens, all.tokens);
      EXPECT_EQ(work.next, all.next);
      EXPECT_EQ(work.ends_epoch, all.ends_epoch);
      counts.insert(work.micro_batches.size());
      for (const data::PackedBatch& batch : work.micro_batches) {
        ordinals.insert(batch.sample.begin(), batch.sample.end());
        tokens += batch.real_tokens();
        EXPECT_EQ(batch.rows() % 64, 0);
      }
    }
    EXPECT_EQ(counts.size(), 1U);
    EXPECT_EQ(tokens, all.tokens);
    EXPECT_EQ(ordinals.size(), all.samples.size());
    EXPECT_EQ(std::set<int32_t>(ordinals.begin(), ordinals.end()).size(), all.samples.size());
    EXPECT_EQ(all.ends_epoch, step % 4 == 3);  // 23 samples, 7 a step
  }
}

TEST(StepSource, GoesOnFromACursor) {
  const FakeTask task;
  const std::vector<int32_t> lengths = lengths_of(task);
  StepSource whole(task, lengths, options(1, 0), 0, {}, 9);
  std::vector<StepWork> all;
  for (int i = 0; i < 9; ++i) all.push_back(whole.next());
  StepSource rest(task, lengths, options(1, 0), 5, all[4].next, 9);
  for (size_t i = 5; i < 9; ++i) {
    const StepWork work = rest.next();
    EXPECT_EQ(work.step, static_cast<int64_t>(i));
    EXPECT_EQ(work.samples, all[i].samples);
  }
}

TEST(StepSource, MayBeLeftWithStepsToSpare) {
  const FakeTask task;
  const std::vector<int32_t> lengths = lengths_of(task);
  for (int used = 0; used < 4; ++used) {
    StepSource source(task, lengths, options(1, 0), 0, {}, 1000);
    for (int i = 0; i < used; ++i) source.next();
  }
}

// Its batches cannot be made.
class BrokenTask final : public tasks::Task {
 public:
  int64_t train_size() const override { return 3; }
  int64_t train_length(int64_t) const override { return 5; }
  Json identity() const override { return Json::object(); }
  data::PackedBatch make_batch(std::span<const tasks::SampleRef>, tasks::StepKey) const override {
    throw run_error("sample 2 cannot be read");
  }
  std::vector<int64_t> loss_counts(std::span<const tasks::SampleRef>,
                                   tasks::StepKey) const override {
    return {1};
  }
  at::Tensor loss(const data::PackedBatch&, nn::Context&, std::span<const int64_t>) override {
    return {};
  }
  Json evaluate(comm::World&, tasks::Evaluator&) override { return Json::object(); }
  std::string metric() const override { return "none"; }
  bool metric_higher_is_better() const override { return true; }
  std::vector<nn::UnitParams> units() override { return {}; }
  void write_assets(const std::string&) const override {}
};

TEST(StepSource, SaysWhatMakingABatchThrew) {
  const BrokenTask task;
  const std::vector<int32_t> lengths = {5, 5, 5};
  StepSource source(task, lengths, options(1, 0), 0, {}, 5);
  try {
    source.next();
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "sample 2 cannot be read");
  }
}

}  // namespace
}  // namespace trireme::train
