// A small task and runs of it: what the trainer's tests train.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/parallel/tiny_model.h"
#include "trireme/base/files.h"
#include "trireme/comm/testing.h"
#include "trireme/nn/loss.h"
#include "trireme/train/trainer.h"

namespace trireme::testing {

struct FakeOptions {
  int64_t samples = 23;
  double dropout = 0.2;
  std::string content = "as it was";  // stands for what identifies the samples
  int64_t poisoned = -1;              // a sample whose loss is infinite
  double sleep_s = 0;                 // in every forward pass
  std::vector<double> scores = {};  // of the evaluations, in turn; empty: the loss of some samples
};

// Which of three classes is each token's? Samples of 6 to 41 tokens; dropout of the features.
class FakeTask final : public tasks::Task {
 public:
  explicit FakeTask(FakeOptions options = {}) : options_(std::move(options)) {}

  int64_t train_size() const override { return options_.samples; }
  int64_t train_length(int64_t index) const override { return 6 + index * 29 % 36; }
  Json identity() const override {
    return {{"data", {{"samples", options_.samples}, {"content", options_.content}}},
            {"model", {{"dropout", options_.dropout}}}};
  }

  data::PackedBatch make_batch(std::span<const tasks::SampleRef> samples,
                               tasks::StepKey) const override {
    std::vector<std::vector<int32_t>> ids;
    std::vector<std::vector<int64_t>> classes;
    std::vector<data::PackSample> pack;
    for (const tasks::SampleRef& sample : samples) {
      ids.emplace_back();
      classes.emplace_back();
      for (int64_t i = 0; i < train_length(sample.index); ++i) {
        const int64_t id = (sample.index * 31 + i * 17) % 61;
        ids.back().push_back(sample.index == options_.poisoned ? kPoison
                                                               : static_cast<int32_t>(id));
        classes.back().push_back(id % kOutputs);
      }
    }
    for (size_t i = 0; i < samples.size(); ++i) {
      pack.push_back({.ids = ids[i], .ordinal = static_cast<int32_t>(samples[i].ordinal)});
    }
    data::PackedBatch batch = data::pack(pack, {.token_types = false});
    batch.labels["class"] = data::pack_rows(batch, classes, -100);
    return batch;
  }

  std::vector<int64_t> loss_counts(std::span<const tasks::SampleRef> global_batch,
                                   tasks::StepKey) const override {
    int64_t tokens = 0;
    for (const tasks::SampleRef& sample : global_batch) tokens += train_length(sample.index);
    return {tokens};
  }

  at::Tensor loss(const data::PackedBatch& batch, nn::Context& context,
                  std::span<const int64_t> counts) override {
    std::this_thread::sleep_for(std::chrono::duration<double>(options_.sleep_s));
    const at::Tensor t = batch.tokens.to(at::kFloat).unsqueeze(1);
    at::Tensor x = at::sin(t * at::arange(1, kInputs + 1));
    x.masked_fill_(t == kPoison, std::numeric_limits<float>::infinity());
    x = nn::dropout(x.requires_grad_(), {options_.dropout, /*site=*/1}, context);
    return nn::cross_entropy(model_.forward(x, context).to(at::kFloat), batch.labels.at("class"),
                             counts[0]);
  }

  Json evaluate(comm::World&, tasks::Evaluator&) override {
    for (const nn::UnitParams& unit : units()) {
      for (const nn::Param* param : unit.params) {
        evaluated_[param->spec.name] = param->value.clone();
      }
    }
    if (!options_.scores.empty()) return {{"score", options_.scores.at(evaluations_++)}};
    const at::NoGradGuard no_grad;
    const std::vector<tasks::SampleRef> some = {{0, 0}, {1, 1}, {2, 2}};
    const data::PackedBatch batch = make_batch(some, {});
    nn::Context context;
    return {{"score", loss(batch, context, loss_counts(some, {})).item<double>()}};
  }
  std::string metric() const override { return "score"; }
  bool metric_higher_is_better() const override { return !options_.scores.empty(); }

  // The whole values that the last evaluation saw.
  const std::map<std::string, at::Tensor>& evaluated() const { return evaluated_; }

  std::vector<nn::UnitParams> units() override { return model_.units(); }
  void write_assets(const std::string& folder) const override {
    write_file_atomic(folder + "/config.json", "{\"model_type\": \"tiny\"}\n");
  }

 private:
  static constexpr int32_t kPoison = 99;
  FakeOptions options_;
  TinyModel model_;
  size_t evaluations_ = 0;
  std::map<std::string, at::Tensor> evaluated_;
};

// "key=value" over the settings that all these runs share.
using Settings = std::vector<std::string>;

struct RunSpec {
  Settings settings = {};
  FakeOptions task = {};
  int ranks = 1;
  int slow_rank = -1;  // sleeps for slow_s in every forward pass
  double slow_s = 0;
  train::TrainOptions options = {};  // the same for all ranks, but for:
  // Called after every step on every rank; what it returns says whether that rank wishes to stop
  // after the next one.
  std::function<bool(int rank, int64_t step)> stop_wish = {};
};

struct Trained {
  train::TrainResult result;                  // of rank 0
  std::vector<train::StepInfo> steps;         // of rank 0
  std::map<std::string, at::Tensor> weights;  // of rank 0, at the last evaluation: the end
  std::vector<bool> interrupted;              // by rank
};

inline train::RunConfig make_config(const Settings& settings, Json* effective) {
  train::RunConfig config;
  Schema schema;
  bind(schema, &config);
  for (const char* shared : {"model.config=tiny.json", "data.train=none", "data.max_length=64",
                             "data.micro_batch_tokens=64", "data.global_batch_samples=5",
                             "train.steps=12", "optim.lr=0.02"}) {
    schema.set(shared);
  }
  for (const std::string& setting : settings) schema.set(setting);
  check(schema, config);
  *effective = schema.to_json();
  return config;
}

inline Trained train_fake(const RunSpec& run) {
  Json effective;
  const train::RunConfig config = make_config(run.settings, &effective);
  Trained trained;
  trained.interrupted.resize(static_cast<size_t>(run.ranks));
  std::mutex mutex;
  comm::run_ranks(run.ranks, [&](comm::World& world) {
    FakeOptions of_rank = run.task;
    if (world.rank() == run.slow_rank) of_rank.sleep_s = run.slow_s;
    FakeTask task(of_rank);
    train::TrainOptions options = run.options;
    std::atomic<bool> stop = false;
    if (run.stop_wish) options.stop = &stop;
    options.on_step = [&](const train::StepInfo& info) {
      if (run.stop_wish && run.stop_wish(world.rank(), info.step)) stop = true;
      if (run.options.on_step) run.options.on_step(info);
      if (world.rank() == 0) trained.steps.push_back(info);
    };
    train::TrainResult result = train::train(config, effective, world, task, options);
    const std::lock_guard lock(mutex);
    trained.interrupted[static_cast<size_t>(world.rank())] = result.interrupted;
    if (world.rank() != 0) return;
    trained.result = std::move(result);
    trained.weights = task.evaluated();
  });
  return trained;
}

inline void expect_same_weights(const Trained& a, const Trained& b) {
  ASSERT_EQ(a.weights.size(), b.weights.size());
  for (const auto& [name, value] : a.weights) {
    EXPECT_TRUE(at::equal(value, b.weights.at(name))) << name;
  }
}

}  // namespace trireme::testing
