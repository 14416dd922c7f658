// GPT-2 and BERT of small sizes as tasks, whose models are chains: what layouts of every kind
// train.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <memory>
#include <string>
#include <vector>

#include "trireme/base/files.h"
#include "trireme/data/lm_batch.h"
#include "trireme/data/qa_batch.h"
#include "trireme/models/bert.h"
#include "trireme/models/gpt2.h"
#include "trireme/tasks/lm_model.h"
#include "trireme/tasks/qa_task.h"

namespace trireme::testing {

// Samples of 5 to 40 tokens out of 67, so that no number of ranks divides the vocabulary.
class SmallTask : public tasks::ChainTask {
 public:
  static constexpr int32_t kVocabulary = 67;

  int64_t train_size() const override { return 12; }
  int64_t train_length(int64_t index) const override { return 5 + index * 17 % 36; }
  Json identity() const override { return {{"data", "small"}, {"model", "small"}}; }

  std::vector<int64_t> loss_counts(std::span<const tasks::SampleRef> global_batch,
                                   tasks::StepKey) const override {
    int64_t count = 0;
    for (const tasks::SampleRef& sample : global_batch) count += count_of(sample.index);
    return {count};
  }

  using Task::evaluate;
  // The mean loss of the samples.
  Json evaluate(comm::World& world, tasks::Evaluator& evaluator) override {
    const at::NoGradGuard no_grad;
    double sum = 0;
    std::vector<tasks::SampleRef> all;
    for (int64_t i = 0; i < train_size(); ++i) all.push_back({i, i});
    const std::vector<int64_t> counts = loss_counts(all, {});
    for (size_t i = 0; i < all.size(); ++i) {
      if (static_cast<int>(i) % evaluator.shares() != evaluator.share()) continue;
      const data::PackedBatch batch = make_batch({&all[i], 1}, {});
      nn::Context context;
      set_inputs(batch, context, counts);
      const at::Tensor output = evaluator.run(chain(), context);
      if (output.defined()) sum += loss_of(output, batch, context, counts).item<double>();
    }
    const at::Tensor total = at::scalar_tensor(sum, at::kDouble);
    world.world_group().all_reduce(total, comm::ReduceOp::kSum, "evaluation")->wait();
    return {{"loss", total.item<double>()}};
  }
  std::string metric() const override { return "loss"; }
  bool metric_higher_is_better() const override { return false; }
  void write_assets(const std::string& folder) const override {
    write_file_atomic(folder + "/config.json", "{\"model_type\": \"small\"}\n");
  }

 protected:
  virtual int64_t count_of(int64_t index) const = 0;
  std::vector<int32_t> ids(int64_t index) const {
    std::vector<int32_t> out;
    for (int64_t i = 0; i < train_length(index); ++i)
      out.push_back(static_cast<int32_t>((index * 29 + i * 13 + i * i) % kVocabulary));
    return out;
  }
};

class SmallLmTask final : public SmallTask {
 public:
  struct Options {
    int64_t layers = 2;
    double dropout = 0;
    bool tied = true;
    bool staged = false;  // for a pipeline: the head holds its matrix itself
  };
  static models::Gpt2Config config(const Options& options) {
    models::Gpt2Config c;
    c.vocab_size = kVocabulary;
    c.n_positions = 48;
    c.n_embd = 32;
    c.n_layer = options.layers;
    c.n_head = 8;
    c.n_inner = 48;
    c.initializer_range = 0.2;
    c.embd_pdrop = c.resid_pdrop = c.attn_pdrop = options.dropout;
    c.tie_word_embeddings = options.tied;
    return c;
  }
  explicit SmallLmTask(const Options& options)
      : config_(config(options)),
        model_(config_, options.staged ? models::TiedHead::kCopies : models::TiedHead::kShares) {}

  data::PackedBatch make_batch(std::span<const tasks::SampleRef> samples,
                               tasks::StepKey) const override {
    std::vector<std::vector<int32_t>> texts;
    std::vector<std::vector<int64_t>> next;
    std::vector<data::PackSample> pack;
    for (const tasks::SampleRef& sample : samples) {
      texts.push_back(ids(sample.index));
      next.emplace_back(texts.back().begin() + 1, texts.back().end()).push_back(-1);
    }
    for (size_t i = 0; i < samples.size(); ++i)
      pack.push_back({.ids = texts[i], .ordinal = static_cast<int32_t>(samples[i].ordinal)});
    data::PackedBatch batch = data::pack(pack, {.token_types = false});
    batch.labels[data::kLmNext] = data::pack_rows(batch, next, -1);
    return batch;
  }
  const nn::Chain& chain() const override { return model_.chain(); }
  int64_t layers() const override { return config_.n_layer; }
  int64_t heads() const override { return config_.n_head; }
  int64_t width() const override { return config_.n_embd; }
  void set_inputs(const data::PackedBatch& batch, nn::Context& context,
                  std::span<const int64_t> counts) const override {
    tasks::LmModel::set_inputs(batch, context);
    context.labels = batch.labels.at(data::kLmNext);
    context.label_count = counts[0];
  }
  at::Tensor loss_of(const at::Tensor& output, const data::PackedBatch&, const nn::Context&,
                     std::span<const int64_t>) const override {
    return output;
  }

 private:
  int64_t count_of(int64_t index) const override { return train_length(index) - 1; }

  models::Gpt2Config config_;
  models::Gpt2LmHeadModel model_;
};

class SmallQaTask final : public SmallTask {
 public:
  static models::BertConfig config(int64_t layers, double dropout) {
    models::BertConfig c;
    c.vocab_size = kVocabulary;
    c.hidden_size = 32;
    c.num_hidden_layers = layers;
    c.num_attention_heads = 8;
    c.intermediate_size = 48;
    c.max_position_embeddings = 48;
    c.initializer_range = 0.2;
    c.hidden_dropout_prob = c.attention_probs_dropout_prob = dropout;
    return c;
  }
  explicit SmallQaTask(int64_t layers, double dropout = 0)
      : config_(config(layers, dropout)), model_(config_) {}

  data::PackedBatch make_batch(std::span<const tasks::SampleRef> samples,
                               tasks::StepKey) const override {
    std::vector<std::vector<int32_t>> texts;
    std::vector<int64_t> starts, ends;
    std::vector<data::PackSample> pack;
    for (const tasks::SampleRef& sample : samples) {
      texts.push_back(ids(sample.index));
      starts.push_back(sample.index % 4);
      ends.push_back(train_length(sample.index) - 1);
    }
    for (size_t i = 0; i < samples.size(); ++i) {
      pack.push_back({.ids = texts[i],
                      .ordinal = static_cast<int32_t>(samples[i].ordinal),
                      .second_segment = 3});
    }
    data::PackedBatch batch = data::pack(pack, {});
    batch.labels[data::kQaStart] = at::tensor(starts, at::kLong);
    batch.labels[data::kQaEnd] = at::tensor(ends, at::kLong);
    return batch;
  }
  const nn::Chain& chain() const override { return model_.chain(); }
  int64_t layers() const override { return config_.num_hidden_layers; }
  int64_t heads() const override { return config_.num_attention_heads; }
  int64_t width() const override { return config_.hidden_size; }
  void set_inputs(const data::PackedBatch& batch, nn::Context& context,
                  std::span<const int64_t>) const override {
    tasks::QaModel::set_inputs(batch, context);
  }
  at::Tensor loss_of(const at::Tensor& logits_t2, const data::PackedBatch& batch,
                     const nn::Context& context, std::span<const int64_t> counts) const override {
    return tasks::qa_loss(logits_t2, batch, context, counts[0]);
  }

 private:
  int64_t count_of(int64_t) const override { return 1; }

  models::BertConfig config_;
  models::BertForQuestionAnswering model_;
};

}  // namespace trireme::testing
