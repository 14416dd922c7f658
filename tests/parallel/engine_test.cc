#include "trireme/parallel/engine.h"
#include "trireme/parallel/global_norm.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <mutex>

#include "tests/parallel/recording_group.h"
#include "tests/parallel/tiny_model.h"
#include "trireme/base/error.h"
#include "trireme/comm/testing.h"
#include "trireme/optim/adamw.h"

namespace trireme::parallel {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::RecordingGroup;
using testing::tiny_data;
using testing::tiny_loss;
using testing::TinyModel;

constexpr uint64_t kSeed = 7;

std::vector<at::Tensor> copy_gradients(const Engine& engine) {
  std::vector<at::Tensor> gradients;
  for (const Region& region : engine.regions()) {
    gradients.push_back(region.view(engine.flat_buffers()[region.bucket].grad).clone());
  }
  return gradients;
}

// ||g - g'|| <= tolerance ||g'|| + 1e-7 ||all of g'||, for each tensor.
void expect_close(const std::vector<at::Tensor>& got, const std::vector<at::Tensor>& want,
                  double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  double all = 0;
  for (const at::Tensor& t : want) all += t.square().sum().item<double>();
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = (got[i] - want[i]).norm().item<double>();
    EXPECT_LE(error, tolerance * want[i].norm().item<double>() + 1e-7 * std::sqrt(all)) << i;
  }
}

// Samples [begin, end) of a step, by micro-batch.
using Cuts = std::vector<std::pair<int64_t, int64_t>>;

double run_step(Engine& engine, TinyModel& model, const Cuts& cuts, int64_t samples, int64_t step) {
  const testing::TinyData data = tiny_data(samples, step);
  nn::Context context;
  context.hooks = &engine;
  double loss = 0;
  engine.begin_step(static_cast<int>(cuts.size()));
  for (const auto& [begin, end] : cuts) {
    const at::Tensor share = tiny_loss(model, context, data, begin, end, samples);
    loss += share.item<double>();
    share.backward();
    engine.end_micro_batch();
  }
  engine.finish_step();
  return loss;
}

// What autograd makes of the same loss, from the engine's initial values.
std::vector<at::Tensor> oracle_gradients(const Engine& engine, int64_t samples) {
  std::map<std::string, at::Tensor> leaf;
  std::vector<at::Tensor> leaves;
  for (const Region& region : engine.regions()) {
    leaves.push_back(
        region.view(engine.flat_buffers()[region.bucket].master).clone().requires_grad_());
    leaf[region.name] = leaves.back();
  }
  const testing::TinyData data = tiny_data(samples);
  const at::Tensor h =
      at::tanh(at::linear(data.x, leaf["body.dense.weight"], leaf["body.dense.bias"]));
  const at::Tensor out = at::linear(h, leaf["head.dense.weight"], leaf["head.dense.bias"]);
  ((out - data.y).square().sum() / static_cast<double>(samples)).backward();
  std::vector<at::Tensor> gradients;
  for (const at::Tensor& t : leaves) gradients.push_back(t.grad());
  return gradients;
}

TEST(Engine, GradientsEqualAutograd) {
  comm::run_ranks(1, [](comm::World& world) {
    TinyModel model;
    Engine engine(model.units(), world.world_group(), {});
    engine.init(kSeed);
    run_step(engine, model, {{0, 6}}, 6, 0);
    expect_close(copy_gradients(engine), oracle_gradients(engine, 6), 1e-5);
  });
}

TEST(Engine, UnequalMicroBatchesAreWeightedExactly) {
  comm::run_ranks(1, [](comm::World& world) {
    TinyModel model;
    Engine engine(model.units(), world.world_group(), {});
    engine.init(kSeed);
    run_step(engine, model, {{0, 1}, {1, 6}, {6, 7}, {7, 11}}, 11, 0);
    expect_close(copy_gradients(engine), oracle_gradients(engine, 11), 1e-5);
  });
}

class EngineRanks : public ::testing::TestWithParam<std::tuple<int, at::ScalarType>> {};

// Loss, gradients and a curve of 20 steps, against one process with one micro-batch.
TEST_P(EngineRanks, EqualsOneProcess) {
  const auto [ranks, dtype] = GetParam();
  const bool bf16 = dtype == at::kBFloat16;
  const int64_t samples = 13;  // not divisible by any number of ranks
  struct Result {
    std::vector<double> losses;
    std::vector<at::Tensor> gradients;
  };
  const auto train = [&, dtype = dtype](comm::World& world, const Cuts& cuts) {
    TinyModel model;
    Engine engine(model.units(), world.world_group(), {.compute_dtype = dtype, .chunk_bytes = 64});
    engine.init(kSeed);
    optim::AdamW adamw(engine.flat_buffers(), {});
    Result result;
    for (int64_t step = 0; step < 20; ++step) {
      at::Tensor loss = at::tensor(run_step(engine, model, cuts, samples, step), at::kDouble);
      world.world_group().all_reduce(loss, comm::ReduceOp::kSum, "loss")->wait();
      result.losses.push_back(loss.item<double>());
      if (step == 0) result.gradients = copy_gradients(engine);
      adamw.step({.lr = 1e-2});
    }
    return result;
  };
  Result single;
  comm::run_ranks(1, [&](comm::World& world) { single = train(world, {{0, samples}}); });
  EXPECT_LT(single.losses.back(), single.losses.front() * 0.8);

  std::mutex mutex;
  comm::run_ranks(ranks, [&, ranks = ranks](comm::World& world) {
    // Shares of unequal size, in two micro-batches.
    const int64_t begin = samples * world.rank() / ranks,
                  end = samples * (world.rank() + 1) / ranks;
    const Result mine = train(world, {{begin, begin + 1}, {begin + 1, end}});
    const std::lock_guard lock(mutex);
    ASSERT_EQ(mine.losses.size(), 20U);
    EXPECT_NEAR(mine.losses[0], single.losses[0], bf16 ? 2e-3 : 1e-5);
    for (size_t i = 0; i < 20; ++i) {
      EXPECT_NEAR(mine.losses[i], single.losses[i], bf16 ? 2e-2 : 1e-4) << "step " << i;
    }
    expect_close(mine.gradients, single.gradients, bf16 ? 2e-2 : 1e-5);
  });
}

INSTANTIATE_TEST_SUITE_P(All, EngineRanks,
                         ::testing::Combine(::testing::Values(1, 2, 3, 4),
                                            ::testing::Values(at::kFloat, at::kBFloat16)));

// Calls ready() as backward would.
void ready_all(const std::vector<nn::UnitParams>& units, size_t unit) {
  for (nn::Param* param : units[unit].params) param->ready();
}

TEST(Engine, ReadyIsTheOnlyTriggerAndInnerMicroBatchesAreSilent) {
  TinyModel model;
  RecordingGroup group;
  Engine engine(model.units(), group, {});
  const auto units = model.units();
  engine.begin_step(2);
  ready_all(units, 1);
  ready_all(units, 0);
  EXPECT_THAT(group.calls, ElementsAre());
  engine.end_micro_batch();
  units[1].params[0]->ready();
  EXPECT_THAT(group.calls, ElementsAre());
  units[1].params[1]->ready();
  EXPECT_THAT(group.calls, ElementsAre("grads/head:64"));
  ready_all(units, 0);
  EXPECT_THAT(group.calls, ElementsAre("grads/head:64", "grads/body:96"));
  engine.end_micro_batch();
  engine.finish_step();
  EXPECT_EQ(group.calls.size(), 2U);
}

TEST(Engine, BucketsAreReducedInOneOrder) {
  TinyModel model;
  RecordingGroup group;
  Engine engine(model.units(), group, {});
  const auto units = model.units();
  engine.begin_step(1);
  ready_all(units, 0);  // before its turn
  EXPECT_THAT(group.calls, ElementsAre());
  ready_all(units, 1);
  EXPECT_THAT(group.calls, ElementsAre("grads/head:64", "grads/body:96"));
}

TEST(Engine, LargeBucketsGoInChunks) {
  TinyModel model;
  RecordingGroup group;
  Engine engine(model.units(), group, {.chunk_bytes = 200});
  const auto units = model.units();
  engine.begin_step(1);
  ready_all(units, 1);
  ready_all(units, 0);
  EXPECT_THAT(group.calls,
              ElementsAre("grads/head:32", "grads/head:32", "grads/body:48", "grads/body:48"));
}

TEST(Engine, UnusedParametersAreNamed) {
  TinyModel model;
  RecordingGroup group;
  Engine engine(model.units(), group, {});
  engine.begin_step(1);
  ready_all(model.units(), 1);
  engine.end_micro_batch();
  try {
    engine.finish_step();
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("body.dense.weight, body.dense.bias"));
    EXPECT_EQ(error.kind(), ErrorKind::kRun);
  }
}

TEST(Engine, UnusedParametersMayCountAsZero) {
  TinyModel model;
  RecordingGroup group;
  Engine engine(model.units(), group, {.unused = Unused::kZero});
  engine.begin_step(1);
  ready_all(model.units(), 0);
  engine.end_micro_batch();
  engine.finish_step();
  EXPECT_THAT(group.calls, ElementsAre("grads/head:64", "grads/body:96"));
}

TEST(Engine, AParameterUsedInOneMicroBatchIsUsed) {
  TinyModel model;
  RecordingGroup group;
  Engine engine(model.units(), group, {});
  const auto units = model.units();
  engine.begin_step(2);
  ready_all(units, 0);
  ready_all(units, 1);
  engine.end_micro_batch();
  ready_all(units, 1);
  engine.end_micro_batch();
  engine.finish_step();
  EXPECT_THAT(group.calls, ElementsAre("grads/head:64", "grads/body:96"));
}

TEST(Engine, GradientsThatCompleteTwiceAreRefused) {
  TinyModel model;
  RecordingGroup group;
  Engine engine(model.units(), group, {});
  engine.begin_step(1);
  ready_all(model.units(), 0);
  EXPECT_THROW(ready_all(model.units(), 0), Error);
  engine.abandon_step();
  engine.begin_step(1);  // a fresh start
  ready_all(model.units(), 0);
}

nn::ParamSpec spec_of(const char* name, std::vector<int64_t> shape) {
  nn::ParamSpec spec;
  spec.name = name;
  spec.parts = {{name, shape[0]}};
  spec.shape = std::move(shape);
  return spec;
}

TEST(Engine, TiedWeightLivesInItsFirstUnitAndCountsItsUses) {
  nn::Param tied(spec_of("embedding", {4, 2})), bias(spec_of("bias", {4}));
  tied.uses = 2;
  RecordingGroup group;
  Engine engine({{"embeddings", {&tied}}, {"head", {&tied, &bias}}}, group, {});
  ASSERT_EQ(engine.flat_buffers().size(), 2U);
  EXPECT_EQ(engine.parameter_count(), 12);
  engine.begin_step(1);
  tied.ready();
  bias.ready();
  EXPECT_THAT(group.calls, ElementsAre("grads/head:32"));
  tied.ready();
  EXPECT_THAT(group.calls, ElementsAre("grads/head:32", "grads/embeddings:32"));
}

TEST(Engine, ATiedWeightWithSomeOfItsUsesIsUsed) {
  nn::Param tied(spec_of("embedding", {4, 2}));
  tied.uses = 2;
  RecordingGroup group;
  Engine engine({{"embeddings", {&tied}}}, group, {});
  engine.begin_step(2);
  tied.ready();  // a batch without masked tokens, say
  engine.end_micro_batch();
  engine.end_micro_batch();
  engine.finish_step();
  EXPECT_THAT(group.calls, ElementsAre("grads/embeddings:32"));
}

TEST(Engine, OfASparseGradientTheTouchedRowsTravel) {
  nn::Param position(spec_of("position", {8, 4})), word(spec_of("word", {64, 4})),
      type(spec_of("type", {2, 4})), tied(spec_of("tied", {16, 4}));
  word.spec.sparse_grad = tied.spec.sparse_grad = true;
  tied.uses = 2;
  RecordingGroup group;
  Engine engine({{"embeddings", {&position, &word, &type, &tied}}}, group, {});
  engine.begin_step(1);
  word.grad()[3][1] = 1.0;
  word.grad()[60].fill_(-0.0);
  for (nn::Param* used : {&position, &word, &type, &tied, &tied}) used->ready();
  EXPECT_THAT(group.calls, ElementsAre("grads/embeddings:32", "grads/embeddings rows:64",
                                       "grads/embeddings:96"));
  engine.end_micro_batch();
  engine.finish_step();
  EXPECT_EQ(group.calls.back(), "grads/embeddings:8");  // two rows
}

TEST(Engine, PaddingStaysZero) {
  comm::run_ranks(1, [](comm::World& world) {
    TinyModel model;
    Engine engine(model.units(), world.world_group(), {.compute_dtype = at::kBFloat16});
    engine.init(kSeed);
    optim::AdamW adamw(engine.flat_buffers(), {});
    for (int step = 0; step < 3; ++step) {
      run_step(engine, model, {{0, 4}}, 4, step);
      adamw.step({.lr = 0.1, .grad_factor = 0.5});
    }
    for (size_t b = 0; b < engine.flat_buffers().size(); ++b) {
      const optim::FlatBuffer& buffer = engine.flat_buffers()[b];
      at::Tensor rest = at::ones({buffer.master.numel()}, at::kBool);
      for (const Region& region : engine.regions()) {
        if (region.bucket == b) rest.narrow(0, region.offset, region.numel()).zero_();
      }
      EXPECT_GT(rest.sum().item<int64_t>(), 0);
      for (const at::Tensor& flat : {buffer.master, buffer.value.to(at::kFloat), buffer.grad,
                                     adamw.moments()[b].exp_avg, adamw.moments()[b].exp_avg_sq}) {
        EXPECT_EQ(flat.masked_select(rest).abs().sum().item<double>(), 0.0) << buffer.name;
      }
    }
  });
}

TEST(Engine, NonFiniteGradientsAreNamed) {
  comm::run_ranks(1, [](comm::World& world) {
    TinyModel model;
    Engine engine(model.units(), world.world_group(), {});
    model.units()[1].params[1]->main_grad[2] = NAN;
    EXPECT_THAT(non_finite_gradients({&engine}, 5), ElementsAre("head.dense.bias"));
  });
}

TEST(Engine, ValuesOutliveIt) {
  TinyModel model;
  RecordingGroup group;
  {
    Engine engine(model.units(), group, {});
    engine.init(kSeed);
  }
  const nn::Param& bias = *model.units()[1].params[1];
  EXPECT_EQ(bias.value.sum().item<double>(), 3.0);
  EXPECT_FALSE(bias.wants_grad());
  EXPECT_EQ(bias.sink, nullptr);
}

}  // namespace
}  // namespace trireme::parallel
