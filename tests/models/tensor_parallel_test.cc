// Models over the ranks of a tensor-parallel group, with and without sequence parallelism, against
// the same model on one rank: losses, all gradients, logits, with dropout on.
#include "trireme/nn/tensor_parallel.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>

#include "tests/parallel/small_models.h"
#include "trireme/base/error.h"
#include "trireme/comm/testing.h"
#include "trireme/models/gpt2.h"
#include "trireme/nn/kv_cache.h"

namespace trireme::models {
namespace {

using testing::SmallModel;

// 2, 3 and 4 ranks cut the heads evenly, the MLP (50) and the vocabulary (67) unevenly.
Gpt2Config gpt2_config(bool tied) {
  Gpt2Config c = testing::SmallGpt2::config();
  c.n_embd = 48;
  c.n_head = 12;
  c.tie_word_embeddings = tied;
  return c;
}

BertConfig bert_config(bool tied = true) {
  BertConfig c = testing::small_bert_config();
  c.hidden_size = 48;
  c.num_attention_heads = 12;
  c.initializer_range = 0.1;  // bf16's rounding, against which a gradient is held, grows with it
  c.tie_word_embeddings = tied;
  return c;
}

struct Kind {
  const char* name;
  std::function<std::unique_ptr<SmallModel>()> make;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {
      {"Gpt2Tied", [] { return std::make_unique<testing::SmallGpt2>(gpt2_config(true)); }},
      {"Gpt2Untied", [] { return std::make_unique<testing::SmallGpt2>(gpt2_config(false)); }},
      {"BertQa", [] { return std::make_unique<testing::SmallBert>(bert_config()); }},
      {"BertPreTrainingTied",
       [] { return std::make_unique<testing::SmallBertPreTraining>(false, bert_config()); }},
      {"BertPreTrainingUntied",
       [] { return std::make_unique<testing::SmallBertPreTraining>(false, bert_config(false)); }},
  };
  return all;
}

struct Run {
  at::ScalarType dtype = at::kFloat;
  bool recompute = false;
  const nn::TensorParallel* tp = nullptr;
};

// A step's loss on this rank; gradients are left in the Params.
double step(SmallModel& model, const Run& run) {
  const std::vector<nn::UnitParams> units = model.units();
  nn::allocate_values(units, run.dtype, run.tp != nullptr ? run.tp->slice() : nn::TpSlice{});
  nn::allocate_grads(units);
  for (nn::Param* param : nn::params_once(units)) nn::init_param(*param, 7, param->value);
  std::vector<int64_t> ordinals(testing::kSamples);
  std::iota(ordinals.begin(), ordinals.end(), 0);
  const data::PackedBatch batch =
      testing::pack_samples(ordinals, model.token_types(), /*rows=*/192);
  nn::Context context;
  context.tokens = batch.tokens;
  context.positions = batch.positions;
  context.token_types = batch.token_types;
  context.seq = &batch.seq;
  context.dropout = batch.dropout_key(7, 3);
  context.training = true;
  context.recompute = run.recompute;
  context.tp = run.tp;
  const at::Tensor loss = model.loss(batch, ordinals, context);
  loss.backward();
  return loss.item<double>();
}

using Gradients = std::map<std::string, at::Tensor>;  // whole, by part

// This rank's slices put where they belong.
void add_gradients(const SmallModel& model, const nn::TensorParallel& tp, std::mutex& mutex,
                   Gradients& whole) {
  for (const nn::Param* param : nn::params_once(const_cast<SmallModel&>(model).units())) {
    if (tp.sequence && param->spec.tp == nn::TpKind::kReplicatedPartialGrad)
      tp.group.all_reduce(param->main_grad, comm::ReduceOp::kSum, "partial")->wait();
    for (const nn::PartView& part : nn::part_views(*param, param->main_grad)) {
      const std::lock_guard lock(mutex);
      at::Tensor& tensor = whole[part.part->name];
      if (!tensor.defined()) {
        tensor = at::full(part.cut.shape, NAN);
      } else if (param->spec.tp != nn::TpKind::kShard) {
        EXPECT_TRUE(at::equal(part.view, tensor)) << part.part->name << " differs between ranks";
      }
      const at::Tensor from = part.view.reshape({-1}), to = tensor.view({-1});
      part.cut.each_run(0, part.cut.numel(), [&](const nn::CutRun& run) {
        to.narrow(0, run.global, run.numel).copy_(from.narrow(0, run.local, run.numel));
      });
    }
  }
}

using Case = std::tuple<int, int, bool, bool, at::ScalarType>;  // kind, ranks, sequence, recompute

class TensorParallelTest : public ::testing::TestWithParam<Case> {};

TEST_P(TensorParallelTest, EqualsOneRank) {
  const auto [kind, ranks, sequence, recompute, dtype] = GetParam();
  const auto& make = kinds()[static_cast<size_t>(kind)].make;
  const auto whole = make();
  const double expected_loss = step(*whole, {.dtype = dtype});

  std::mutex mutex;
  Gradients got;
  std::vector<double> losses;
  comm::run_ranks(
      ranks, [&, sequence = sequence, recompute = recompute, dtype = dtype](comm::World& world) {
        const nn::TensorParallel tp{world.world_group(), sequence};
        const auto model = make();
        const double loss = step(*model, {.dtype = dtype, .recompute = recompute, .tp = &tp});
        add_gradients(*model, tp, mutex, got);
        const std::lock_guard lock(mutex);
        losses.push_back(loss);
      });

  const bool bf16 = dtype == at::kBFloat16;
  const double bound = bf16 ? 2e-2 : 1e-5;
  for (const double loss : losses) {
    EXPECT_NEAR(loss, expected_loss, bf16 ? 2e-3 * expected_loss : 1e-5);
    EXPECT_EQ(loss, losses[0]) << "ranks see different losses";
  }
  double all = 0.0;
  const auto params = nn::params_once(whole->units());
  for (const nn::Param* param : params) all += std::pow(param->main_grad.norm().item<double>(), 2);
  for (const nn::Param* param : params) {
    for (const nn::PartView& part : nn::part_views(*param, param->main_grad)) {
      const std::string& name = part.part->name;
      ASSERT_TRUE(got.contains(name)) << name;
      EXPECT_LE((got[name] - part.view).norm().item<double>(),
                bound * part.view.norm().item<double>() + 1e-2 * bound * std::sqrt(all))
          << name;
    }
  }
}

std::string case_name(const ::testing::TestParamInfo<Case>& info) {
  const auto [kind, ranks, sequence, recompute, dtype] = info.param;
  return cat(kinds()[static_cast<size_t>(kind)].name, "Tp", ranks, sequence ? "Sequence" : "",
             recompute ? "Recompute" : "", dtype == at::kBFloat16 ? "Bf16" : "");
}

INSTANTIATE_TEST_SUITE_P(All, TensorParallelTest,
                         ::testing::Combine(::testing::Range(0, 5), ::testing::Values(2, 3, 4),
                                            ::testing::Bool(), ::testing::Values(false),
                                            ::testing::Values(at::kFloat, at::kBFloat16)),
                         case_name);
INSTANTIATE_TEST_SUITE_P(Recomputed, TensorParallelTest,
                         ::testing::Combine(::testing::Values(0, 2), ::testing::Values(2),
                                            ::testing::Bool(), ::testing::Values(true),
                                            ::testing::Values(at::kFloat)),
                         case_name);

// A sequence that goes on, token by token behind its first seven, logits of the last row alone.
at::Tensor generate(Gpt2LmHeadModel& model, const nn::TensorParallel* tp) {
  nn::allocate_values(model.units(), at::kFloat, tp != nullptr ? tp->slice() : nn::TpSlice{});
  for (nn::Param* param : nn::params_once(model.units())) nn::init_param(*param, 7, param->value);
  const at::NoGradGuard no_grad;
  nn::KvCache cache(16);
  std::vector<at::Tensor> logits;
  for (const auto& [past, count] : {std::pair{0, 7}, {7, 1}, {8, 1}}) {
    const auto seq = kernels::SeqInfo::continued(past, count);
    nn::Context context;
    context.positions = at::arange(past, past + count, at::kLong);
    context.tokens = context.positions * 7;
    context.seq = &seq;
    context.logit_rows = at::tensor({count - 1}, at::kLong);
    context.cache = &cache;
    context.tp = tp;
    cache.begin(count);
    logits.push_back(model.forward(context));
    cache.end();
  }
  return at::cat(logits);
}

TEST(TensorParallelGpt2, LogitsEqualOneRanks) {
  Gpt2LmHeadModel whole(gpt2_config(true));
  const at::Tensor expected = generate(whole, nullptr);
  comm::run_ranks(3, [&](comm::World& world) {
    const nn::TensorParallel tp{world.world_group()};
    Gpt2LmHeadModel model(gpt2_config(true));
    const at::Tensor logits = generate(model, &tp);
    EXPECT_EQ(logits.sizes(), (std::vector<int64_t>{3, 67}));
    EXPECT_LE((logits - expected).norm().item<double>(), 1e-5 * expected.norm().item<double>());
  });
}

std::string error_of(int ranks, bool sequence, const std::function<void(nn::Context&)>& change) {
  std::string message;
  try {
    comm::run_ranks(ranks, [&](comm::World& world) {
      const nn::TensorParallel tp{world.world_group(), sequence};
      Gpt2LmHeadModel model(gpt2_config(true));
      nn::allocate_values(model.units(), at::kFloat, tp.slice());
      const std::vector<int32_t> lengths = {5};
      const auto seq = kernels::SeqInfo::self(lengths);
      nn::Context context;
      context.tokens = context.positions = at::arange(8, at::kLong);
      context.seq = &seq;
      context.tp = &tp;
      change(context);
      model.forward(context);
    });
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    message = error.what();
  }
  return message;
}

TEST(TensorParallelGpt2, RefusesWhatItCannotCut) {
  using ::testing::HasSubstr;
  const auto as_it_is = [](nn::Context&) {};
  EXPECT_THAT(error_of(5, false, as_it_is), HasSubstr("12 attention heads do not divide over 5"));
  EXPECT_THAT(error_of(3, true, as_it_is), HasSubstr("8 rows do not divide over 3 ranks"));
  EXPECT_THAT(error_of(2, false, [](nn::Context& c) { c.tokens = c.tokens + 60; }),
              HasSubstr("token id 67 is outside the table of 67"));
  EXPECT_THAT(error_of(2, false, [](nn::Context& c) { c.labels = c.tokens + 60; }),
              HasSubstr("label 67 is outside the 67 classes"));
}

}  // namespace
}  // namespace trireme::models
