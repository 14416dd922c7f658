// What a dry run holds beside what the models hold: the oracle is the caching allocator's count.
#include "trireme/plan/played_units.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/parallel/small_models.h"
#include "tests/plan/even_machine.h"
#include "trireme/base/error.h"
#include "trireme/data/packed_batch.h"
#include "trireme/device/caching_allocator.h"
#include "trireme/models/bert.h"
#include "trireme/models/gpt2.h"
#include "trireme/nn/loss.h"

namespace trireme::plan {
namespace {

struct Case {
  Family family = Family::kBert;
  Dtype dtype = Dtype::kFp32;
  bool recompute = false;
  bool dropout = false;
};

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  return cat(c.family == Family::kBert ? "Bert" : "Gpt2", c.dtype == Dtype::kBf16 ? "Bf16" : "Fp32",
             c.recompute ? "Recompute" : "", c.dropout ? "Dropout" : "");
}

models::BertConfig bert_config(double dropout) {
  models::BertConfig c;
  c.vocab_size = 120;
  c.hidden_size = 96;
  c.num_hidden_layers = 3;
  c.num_attention_heads = 4;
  c.intermediate_size = 320;
  c.hidden_dropout_prob = c.attention_probs_dropout_prob = dropout;
  return c;
}

models::Gpt2Config gpt2_config(double dropout) {
  models::Gpt2Config c;
  c.vocab_size = 1500;
  c.n_embd = 96;
  c.n_layer = 3;
  c.n_head = 4;
  c.n_inner = 384;
  c.n_positions = 256;
  c.resid_pdrop = c.embd_pdrop = c.attn_pdrop = dropout;
  return c;
}

const std::vector<int32_t> kLengths = {200, 31, 77, 120, 64};

data::PackedBatch make_batch(bool token_types) {
  std::vector<std::vector<int32_t>> ids;
  for (const int32_t length : kLengths) ids.emplace_back(static_cast<size_t>(length), 7);
  std::vector<data::PackSample> samples;
  for (size_t i = 0; i < ids.size(); ++i) {
    samples.push_back({.ids = ids[i], .ordinal = static_cast<int32_t>(i), .second_segment = 5});
  }
  return data::pack(samples, {.token_types = token_types});
}

// Most bytes between the beginning of forward and the end of backward.
struct Peaks {
  int64_t forward = 0;  // held when forward is over
  int64_t most = 0;
};

template <class Loss>
Peaks measure(const std::vector<nn::UnitParams>& units, const Case& c,
              const data::PackedBatch& batch, const Loss& loss_of) {
  nn::allocate_values(units, c.dtype == Dtype::kBf16 ? at::kBFloat16 : at::kFloat);
  nn::allocate_grads(units);
  device::CachingAllocator& memory = device::install_caching_allocator();
  nn::UnitHooks hooks;
  Peaks peaks;
  for (int run = 0; run < 2; ++run) {
    nn::Context context;
    context.tokens = batch.tokens;
    context.positions = batch.positions;
    context.token_types = batch.token_types;
    context.seq = &batch.seq;
    context.dropout = batch.dropout_key(7, 0);
    context.training = true;
    context.hooks = &hooks;
    context.recompute = c.recompute;
    const int64_t before = memory.stats().total.bytes;
    memory.reset_peaks();
    const at::Tensor loss = loss_of(context);
    peaks.forward = memory.stats().total.bytes - before;
    loss.backward();
    peaks.most = memory.stats().total.peak_bytes - before;
  }
  return peaks;
}

Peaks play(const ModelSizes& sizes, const Case& c, int64_t rows) {
  const Machine machine = testing::even_machine();
  DryRun run({.machine = &machine, .rates = &machine.compute[0], .dtype = c.dtype});
  const PlayedModel model(sizes, {.recompute = c.recompute});
  const PlayedBatch batch{.rows = rows, .lengths = kLengths};
  Peaks peaks;
  std::vector<Saved> saved(static_cast<size_t>(model.units()));
  Block x;
  for (int64_t u = 0; u < model.units(); ++u) {
    x = model.forward(run, u, std::move(x), batch, &saved[static_cast<size_t>(u)]);
  }
  peaks.forward = run.heap().bytes();
  Block dy;
  for (int64_t u = model.units(); u-- > 0;) {
    dy = model.backward(run, u, std::move(dy), batch,
                        std::exchange(saved[static_cast<size_t>(u)], {}));
  }
  EXPECT_EQ(run.heap().bytes(), 0);
  peaks.most = run.heap().peak_bytes();
  return peaks;
}

class PlayedUnits : public ::testing::TestWithParam<Case> {};

TEST_P(PlayedUnits, HoldWhatTheModelHolds) {
  const Case& c = GetParam();
  at::set_num_threads(1);
  const double p = c.dropout ? 0.1 : 0.0;
  const data::PackedBatch batch = make_batch(c.family == Family::kBert);
  const int64_t rows = batch.rows();
  Peaks real, played;
  if (c.family == Family::kBert) {
    models::BertForQuestionAnswering model(bert_config(p));
    const at::Tensor labels = at::zeros({static_cast<int64_t>(kLengths.size())}, at::kLong);
    real = measure(model.units(), c, batch, [&](nn::Context& context) {
      return nn::span_loss(model.forward(context), labels, labels, batch.seq, 5);
    });
    played = play(sizes_of(bert_config(p)), c, rows);
  } else {
    models::Gpt2LmHeadModel model(gpt2_config(p));
    const at::Tensor labels = at::ones({rows}, at::kLong);
    real = measure(model.units(), c, batch, [&](nn::Context& context) {
      context.labels = labels;
      context.label_count = rows;
      return model.forward(context);
    });
    played = play(sizes_of(gpt2_config(p)), c, rows);
  }
  // Small vectors apart: counts, column sums.
  const int64_t slack = real.most / 50;
  EXPECT_NEAR(static_cast<double>(played.forward), static_cast<double>(real.forward), slack);
  EXPECT_NEAR(static_cast<double>(played.most), static_cast<double>(real.most), slack);
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Family family : {Family::kBert, Family::kGpt2}) {
    for (const Dtype dtype : {Dtype::kFp32, Dtype::kBf16}) {
      for (const bool recompute : {false, true}) {
        for (const bool dropout : {false, true}) all.push_back({family, dtype, recompute, dropout});
      }
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, PlayedUnits, ::testing::ValuesIn(cases()), name_of);

}  // namespace
}  // namespace trireme::plan
