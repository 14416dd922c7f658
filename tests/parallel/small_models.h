// BERT and GPT-2 of sizes that no number of ranks divides, with data for them: what the tests of
// ZeRO and recompute train.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "trireme/comm/mesh.h"
#include "trireme/comm/world.h"
#include "trireme/data/packed_batch.h"
#include "trireme/models/bert.h"
#include "trireme/models/gpt2.h"
#include "trireme/nn/loss.h"
#include "trireme/nn/tensor_parallel.h"
#include "trireme/optim/adamw.h"
#include "trireme/parallel/engine.h"
#include "trireme/parallel/global_norm.h"

namespace trireme::testing {

constexpr int64_t kSamples = 7;  // in a global batch
constexpr int64_t kVocabulary = 67;

// Sample `ordinal` of every global batch: 3 to 21 tokens.
inline std::vector<int32_t> sample_ids(int64_t ordinal) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < 3 + ordinal * 11 % 19; ++i) {
    ids.push_back(static_cast<int32_t>((ordinal * 29 + i * 13 + i * i) % kVocabulary));
  }
  return ids;
}

// rows: of the batch; 0: as many as it takes.
inline data::PackedBatch pack_samples(const std::vector<int64_t>& ordinals, bool token_types,
                                      int64_t rows = 0) {
  std::vector<std::vector<int32_t>> ids;
  for (const int64_t ordinal : ordinals) ids.push_back(sample_ids(ordinal));
  std::vector<data::PackSample> samples;
  for (size_t i = 0; i < ids.size(); ++i) {
    samples.push_back({.ids = ids[i],
                       .ordinal = static_cast<int32_t>(ordinals[i]),
                       .second_segment = static_cast<int32_t>(ids[i].size() / 2)});
  }
  return data::pack(samples, {.rows = rows, .token_types = token_types});
}

// A model with a loss over some of a global batch's samples: their share of the mean over all.
class SmallModel {
 public:
  virtual ~SmallModel() = default;
  virtual std::vector<nn::UnitParams> units() = 0;
  virtual bool token_types() const { return true; }
  virtual at::Tensor loss(const data::PackedBatch& batch, const std::vector<int64_t>& ordinals,
                          nn::Context& context) = 0;
};

class SmallGpt2 final : public SmallModel {
 public:
  static models::Gpt2Config config() {
    models::Gpt2Config c;
    c.vocab_size = kVocabulary;
    c.n_positions = 40;
    c.n_embd = 30;
    c.n_layer = 2;
    c.n_head = 3;
    c.n_inner = 50;
    c.initializer_range = 0.2;
    return c;
  }
  explicit SmallGpt2(const models::Gpt2Config& c = config()) : model_(c) {}
  std::vector<nn::UnitParams> units() override { return model_.units(); }
  bool token_types() const override { return false; }
  at::Tensor loss(const data::PackedBatch& batch, const std::vector<int64_t>& ordinals,
                  nn::Context& context) override {
    std::vector<std::vector<int64_t>> next;
    for (const int64_t ordinal : ordinals) {
      const std::vector<int32_t> ids = sample_ids(ordinal);
      next.emplace_back(ids.begin() + 1, ids.end()).push_back(-100);
    }
    int64_t count = 0;
    for (int64_t i = 0; i < kSamples; ++i) count += static_cast<int64_t>(sample_ids(i).size()) - 1;
    context.labels = data::pack_rows(batch, next, -100);
    context.label_count = count;
    return model_.forward(context);
  }

 private:
  models::Gpt2LmHeadModel model_;
};

inline models::BertConfig small_bert_config() {
  models::BertConfig c;
  c.vocab_size = kVocabulary;
  c.hidden_size = 30;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 3;
  c.intermediate_size = 50;
  c.max_position_embeddings = 40;
  c.initializer_range = 0.2;
  return c;
}

class SmallBert final : public SmallModel {
 public:
  explicit SmallBert(const models::BertConfig& c = small_bert_config()) : model_(c) {}
  std::vector<nn::UnitParams> units() override { return model_.units(); }
  at::Tensor loss(const data::PackedBatch& batch, const std::vector<int64_t>& ordinals,
                  nn::Context& context) override {
    std::vector<int64_t> starts, ends;
    for (const int64_t ordinal : ordinals) {
      starts.push_back(ordinal % 3);
      ends.push_back(2);
    }
    return nn::span_loss(model_.forward(context), at::tensor(starts, at::kLong),
                         at::tensor(ends, at::kLong), batch.seq, kSamples);
  }

 private:
  models::BertForQuestionAnswering model_;
};

// The head of two outputs, tied to the word embeddings. Each sample has one masked word, its first.
class SmallBertPreTraining final : public SmallModel {
 public:
  explicit SmallBertPreTraining(bool words_alone = false,
                                const models::BertConfig& c = small_bert_config())
      : model_(c), words_alone_(words_alone) {}
  std::vector<nn::UnitParams> units() override { return model_.units(); }
  at::Tensor loss(const data::PackedBatch& batch, const std::vector<int64_t>& ordinals,
                  nn::Context& context) override {
    std::vector<int64_t> rows, words, next;
    for (size_t b = 0; b < ordinals.size(); ++b) {
      rows.push_back(batch.seq.cu_q_host[b]);
      words.push_back(ordinals[b] * 5 % kVocabulary);
      next.push_back(ordinals[b] % 2);
    }
    const auto logits = model_.forward(context, at::tensor(rows, at::kLong));
    at::Tensor loss = nn::cross_entropy(logits.words_mv, at::tensor(words, at::kLong), kSamples);
    if (!words_alone_) {
      loss = loss + nn::cross_entropy(logits.next_b2, at::tensor(next, at::kLong), kSamples);
    }
    return loss;
  }

 private:
  models::BertForPreTraining model_;
  bool words_alone_;
};

struct SmallRun {
  at::ScalarType dtype = at::kFloat;
  int zero_stage = 0;
  bool join_values = false;
  int tp = 1;  // tensor-parallel ranks, neighbours; the others share the samples out
  bool sequence_parallel = false;
  int micro_batches = 1;
  bool recompute = false;
  int64_t steps = 2;
  parallel::Unused unused = parallel::Unused::kError;
};

struct SmallResult {
  std::vector<double> losses;
  double grad_norm = 0;                         // of step 0
  std::map<std::string, at::Tensor> gradients;  // of step 0, whole
  std::map<std::string, at::Tensor> masters;    // at the end, whole
};

// Whole tensors from the parts of all ranks.
class Assembly {
 public:
  void add(const parallel::Engine& engine, at::Tensor optim::FlatBuffer::*which,
           std::map<std::string, at::Tensor>& whole) {
    const std::lock_guard lock(mutex_);
    for (const parallel::Region& region : engine.regions()) {
      const at::Tensor& flat = engine.flat_buffers()[region.bucket].*which;
      if (!flat.defined()) continue;
      at::Tensor& tensor = whole[region.name];
      if (!tensor.defined()) tensor = at::full(region.shape(), NAN, at::kFloat);
      region.each_run([&](const nn::CutRun& run) {
        tensor.view({-1})
            .narrow(0, run.global, run.numel)
            .copy_(flat.narrow(0, run.local, run.numel));
      });
    }
  }

 private:
  std::mutex mutex_;
};

// Trains on this rank; `result` is of all ranks together, losses of rank 0.
inline void train_small(comm::World& world, SmallModel& model, const SmallRun& run,
                        Assembly& assembly, SmallResult& result) {
  std::optional<comm::MeshGroups> groups;
  if (run.tp > 1) groups.emplace(world, comm::Mesh({.dp = world.size() / run.tp, .tp = run.tp}));
  comm::Group& group = groups ? groups->along({comm::Axis::kDp}) : world.world_group();
  std::optional<nn::TensorParallel> tp;
  if (groups)
    tp.emplace(nn::TensorParallel{groups->along({comm::Axis::kTp}), run.sequence_parallel});
  parallel::Engine engine(model.units(), group,
                          {.compute_dtype = run.dtype,
                           .zero_stage = run.zero_stage,
                           .unused = run.unused,
                           .join_values = run.join_values,
                           .tp = tp ? &tp->group : nullptr,
                           .sequence_parallel = run.sequence_parallel,
                           .model = tp ? &tp->group : nullptr});
  engine.init(7);
  // An epsilon that keeps the noise of gradients that are truly zero (a key's bias) small.
  optim::AdamW adamw(engine.flat_buffers(), {.eps = 1e-2});
  for (int64_t step = 0; step < run.steps; ++step) {
    double loss = 0;
    engine.begin_step(run.micro_batches);
    for (int m = 0; m < run.micro_batches; ++m) {
      std::vector<int64_t> mine;  // unequal shares, some empty
      for (int64_t i = 0; i < kSamples; ++i) {
        const int64_t part = i % (group.size() * run.micro_batches);
        if (part == group.rank() * run.micro_batches + m) mine.push_back(i);
      }
      const data::PackedBatch batch = pack_samples(mine, model.token_types());
      nn::Context context;
      context.tokens = batch.tokens;
      context.positions = batch.positions;
      context.token_types = batch.token_types;
      context.seq = &batch.seq;
      context.dropout = batch.dropout_key(7, static_cast<uint64_t>(step));
      context.training = true;
      context.hooks = &engine;
      context.recompute = run.recompute;
      context.tp = tp ? &*tp : nullptr;
      const at::Tensor share = model.loss(batch, mine, context);
      loss += share.item<double>();
      share.backward();
      engine.end_micro_batch();
    }
    engine.finish_step();
    const at::Tensor sum = at::scalar_tensor(loss, at::kDouble);
    group.all_reduce(sum, comm::ReduceOp::kSum, "loss")->wait();
    const double norm = parallel::grad_norm({&engine});
    if (world.rank() == 0) result.losses.push_back(sum.item<double>());
    if (step == 0) {
      if (world.rank() == 0) result.grad_norm = norm;
      assembly.add(engine, &optim::FlatBuffer::grad, result.gradients);
    }
    adamw.step({.lr = 1e-2});
    engine.gather_updates();
  }
  assembly.add(engine, &optim::FlatBuffer::master, result.masters);
  for (const nn::Param* param : nn::params_once(model.units())) {
    EXPECT_EQ(param->value.defined(), run.zero_stage < 3 || engine.joined()) << param->spec.name;
  }
  world.world_group().barrier("end of a run");
}

}  // namespace trireme::testing
