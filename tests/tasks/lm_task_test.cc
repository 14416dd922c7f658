// Language modelling on corpora: losses against a document at a time, whatever the windows.
#include "trireme/tasks/lm_task.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/tasks/tiny_lm.h"
#include "trireme/comm/testing.h"
#include "trireme/data/lm_batch.h"
#include "trireme/data/token_shards.h"

namespace trireme::tasks {
namespace {

using ::testing::HasSubstr;
using trireme::testing::TinyLm;

const std::vector<int64_t> kLengths = {5, 1, 7, 3, 12, 2, 10, 6, 4, 8};

std::vector<std::vector<int32_t>> documents() {
  std::vector<std::vector<int32_t>> out;
  int32_t next = 11;
  for (const int64_t length : kLengths) {
    out.emplace_back();
    for (int64_t i = 0; i < length; ++i) out.back().push_back(next = (next * 7 + 3) % 53);
  }
  return out;
}

void write_documents(const std::string& prefix) {
  data::TokenShardWriter writer(prefix, 53);
  for (const auto& document : documents()) writer.add(document);
  writer.commit();
}

// Sum of -log p of every token given all those before it in its document, one at a time.
std::pair<double, int64_t> whole_documents_loss(LmModel& model) {
  const at::NoGradGuard no_grad;
  double sum = 0;
  int64_t count = 0;
  for (const auto& document : documents()) {
    if (document.size() < 2) continue;
    const std::vector<data::PackSample> samples = {{.ids = document}};
    const data::PackedBatch batch = data::pack(samples, {.token_types = false});
    nn::Context context;
    const at::Tensor log_p = at::log_softmax(model.forward(batch, context).to(at::kDouble), 1);
    for (size_t i = 0; i + 1 < document.size(); ++i) {
      sum -= log_p[static_cast<int64_t>(i)][document[i + 1]].item<double>();
      ++count;
    }
  }
  return {sum, count};
}

struct Corpus {
  Corpus() { write_documents(dir / "c"); }
  test::TempDir dir;
  std::string prefix() const { return dir / "c"; }
};

// Windows that end where documents end: the loss is that of the documents, over any number of
// ranks.
TEST(LmTask, EvaluationIsTheMeanOverAllPredictedTokens) {
  const Corpus corpus;
  TinyLm tiny;
  const auto [sum, count] = whole_documents_loss(tiny.model());
  comm::run_ranks(2, [&](comm::World& world) {
    TinyLm own;
    LmTask task(own.model(), {.dev = corpus.prefix(),
                              .evaluation_only = true,
                              .window_tokens = 40,
                              .micro_batch_tokens = 64});
    const Json scores = task.evaluate(world);
    EXPECT_EQ(scores["tokens"], count);
    EXPECT_EQ(scores["documents"], 10);
    EXPECT_NEAR(scores["loss"].get<double>(), sum / static_cast<double>(count), 1e-5);
    EXPECT_NEAR(scores["perplexity"].get<double>(), std::exp(sum / static_cast<double>(count)),
                1e-2);
  });
}

// Of an epoch every token but each document's first is predicted once; shares of micro-batches add
// up to the mean of the global batch.
TEST(LmTask, LossesOfMicroBatchesAddUp) {
  const Corpus corpus;
  TinyLm tiny;
  LmTask task(tiny.model(), {.train = corpus.prefix(), .window_tokens = 10, .seed = 5});
  EXPECT_EQ(task.train_size(), 6);
  EXPECT_EQ(task.train_length(5), 8);
  std::vector<SampleRef> all;
  for (int64_t i = 0; i < task.train_size(); ++i) all.push_back({i, i});
  for (const int64_t epoch : {0, 1}) {
    const StepKey key{.seed = 5, .step = 9, .epoch = epoch};
    const std::vector<int64_t> counts = task.loss_counts(all, key);
    EXPECT_EQ(counts, (std::vector<int64_t>{58 - 10}));
    const at::NoGradGuard no_grad;
    const auto loss = [&](std::span<const SampleRef> samples) {
      nn::Context context;
      return task.loss(task.make_batch(samples, key), context, counts).item<double>();
    };
    double parts = 0;
    for (const SampleRef& sample : all) parts += loss({&sample, 1});
    EXPECT_NEAR(loss(all), parts, 1e-5);
    EXPECT_EQ(loss({}), 0.0);
  }
}

TEST(LmTask, TheIdentityTellsDataAndModelApart) {
  const Corpus corpus;
  TinyLm tiny;
  const auto identity = [&](const LmTaskOptions& options) {
    return LmTask(tiny.model(), options).identity();
  };
  const Json plain = identity({.train = corpus.prefix(), .window_tokens = 10});
  EXPECT_EQ(identity({.train = corpus.prefix(), .window_tokens = 10}), plain);
  EXPECT_NE(identity({.train = corpus.prefix(), .window_tokens = 11})["data"], plain["data"]);
  const std::string twice = corpus.prefix() + ":1," + corpus.prefix() + ":2";
  const Json blend = identity({.train = twice, .window_tokens = 10});
  EXPECT_EQ(blend["data"]["shares"], Json({4, 8}));
  EXPECT_EQ(blend["data"]["corpora"][0], plain["data"]["corpora"][0]);
}

TEST(LmTask, TheSplitIsNotTrainedOn) {
  const Corpus corpus;
  TinyLm tiny;
  const LmTaskOptions options{
      .train = corpus.prefix(), .dev_share = 0.4, .window_tokens = 10, .seed = 2};
  LmTask task(tiny.model(), options);
  const Json trained = task.identity()["data"]["corpora"][0];
  comm::run_ranks(1, [&](comm::World& world) {
    const Json scores = task.evaluate(world);
    EXPECT_EQ(trained["documents"].get<int64_t>() + scores["documents"].get<int64_t>(), 10);
    EXPECT_GT(scores["documents"].get<int64_t>(), 0);
  });
}

TEST(LmTask, SaysWhatDoesNotFit) {
  const Corpus corpus;
  TinyLm tiny;
  const auto refusal = [&](const LmTaskOptions& options) {
    return test::input_error_of([&] { LmTask task(tiny.model(), options); });
  };
  EXPECT_THAT(refusal({.train = corpus.prefix(), .window_tokens = 5000}),
              HasSubstr("(data.max_length) are longer than"));
  EXPECT_THAT(refusal({.train = corpus.prefix(), .window_tokens = 10, .micro_batch_tokens = 8}),
              HasSubstr("data.micro_batch_tokens = 8"));
  EXPECT_THAT(refusal({.train = corpus.prefix(), .dev = corpus.prefix(), .dev_share = 0.1}),
              HasSubstr("data.split is set besides data.dev"));
  EXPECT_THAT(refusal({.train = corpus.prefix() + "x"}), HasSubstr("trireme data prepare"));
  EXPECT_THAT(refusal({.train = corpus.prefix(), .dev = corpus.prefix() + ":1"}),
              HasSubstr("have no weights"));
}

}  // namespace
}  // namespace trireme::tasks
