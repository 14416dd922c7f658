// The engine where tensor parallelism cuts Params and a pipeline cuts the model, against one rank.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "tests/parallel/hybrid_run.h"
#include "trireme/comm/testing.h"

namespace trireme::parallel {
namespace {

using testing::CutModel;
using ::testing::ElementsAre;
using testing::HybridLayout;
using testing::HybridRun;
using testing::WholeTensors;

struct Result {
  WholeTensors initial, gradients, masters;
  std::vector<double> norms;  // by rank
  std::vector<std::vector<std::string>> not_finite;
};

// Both holders of the tied table have the same bits.
void expect_equal_copies(HybridRun& run) {
  for (const HybridRun::Chunk& chunk : run.chunks()) {
    for (size_t b = 0; b < chunk.engine->flat_buffers().size(); ++b) {
      if (chunk.engine->tied_param(b) == nullptr) continue;
      const at::Tensor& master = chunk.engine->flat_buffers()[b].master;
      const at::Tensor both = at::empty({2 * master.numel()}, at::kFloat);
      run.pipeline().all_gather(both, master, "both tables")->wait();
      EXPECT_TRUE(at::equal(both.narrow(0, 0, master.numel()),
                            both.narrow(0, master.numel(), master.numel())));
    }
  }
}

void run_rank(comm::World& world, const HybridLayout& layout, Result& result) {
  HybridRun run(world, layout);
  const auto rank = static_cast<size_t>(world.rank());
  run.init(5);
  run.add_to(result.initial, &optim::FlatBuffer::master);
  result.norms.at(rank) = run.backward(0);
  run.add_to(result.gradients, &optim::FlatBuffer::grad);
  run.update();
  run.add_to(result.masters, &optim::FlatBuffer::master);
  expect_equal_copies(run);

  // A NaN in one tensor is known to all ranks, by its name. Where nothing is sharded the data ranks
  // hold the same masters.
  const bool holds = run.here().pp == layout.mesh.pp - 1 && run.here().tp == layout.mesh.tp - 1 &&
                     (run.here().dp == 0 || layout.zero_stage == 0);
  if (holds) {
    const Engine& engine = *run.chunks().back().engine;
    const Region& last = engine.regions().back();
    last.view(engine.flat_buffers()[last.bucket].master).view({-1})[0] = NAN;
  }
  result.not_finite.at(rank) = non_finite_masters(run.engines(), 3);
  EXPECT_THAT(non_finite_gradients(run.engines(), 3), ElementsAre());
  world.world_group().barrier("end of a run");
}

std::unique_ptr<Result> run(const HybridLayout& layout) {
  auto result = std::make_unique<Result>();
  result->norms.resize(static_cast<size_t>(layout.ranks()));
  result->not_finite.resize(static_cast<size_t>(layout.ranks()));
  comm::run_ranks(layout.ranks(), [&](comm::World& world) { run_rank(world, layout, *result); });
  return result;
}

void expect_equals_one_rank(const HybridLayout& layout) {
  SCOPED_TRACE(layout.text());
  const auto one = run({.mesh = {}, .dtype = layout.dtype});
  const auto many = run(layout);
  testing::expect_same(many->initial.tensors(), one->initial.tensors());
  testing::expect_same(many->gradients.tensors(), one->gradients.tensors());
  testing::expect_same(many->masters.tensors(), one->masters.tensors());
  double squares = 0;
  for (const auto& [name, grad] : one->gradients.tensors()) {
    squares += grad.to(at::kDouble).square().sum().item<double>();
  }
  for (const double norm : many->norms) {
    EXPECT_EQ(norm, many->norms.front());
    EXPECT_DOUBLE_EQ(norm, std::sqrt(squares));
  }
  for (const auto& names : many->not_finite) {
    EXPECT_EQ(names.size(), 1U);
    EXPECT_EQ(names, many->not_finite.front());
  }
}

TEST(HybridEngine, TensorParallelEqualsOneRank) {
  for (const int tp : {2, 3}) {
    for (const int stage : {0, 1, 2, 3}) {
      expect_equals_one_rank({.mesh = {.dp = stage == 0 ? 1 : 2, .tp = tp}, .zero_stage = stage});
    }
  }
  expect_equals_one_rank({.mesh = {.dp = 2, .tp = 2}, .zero_stage = 1, .dtype = at::kBFloat16});
}

TEST(HybridEngine, SharesOfGradientsAreSummedUnderSequenceParallelism) {
  for (const int stage : {0, 1, 2, 3}) {
    expect_equals_one_rank(
        {.mesh = {.dp = 2, .tp = 2}, .zero_stage = stage, .sequence_parallel = true});
  }
  expect_equals_one_rank({.mesh = {.tp = 3}, .sequence_parallel = true});
}

TEST(HybridEngine, PipelineStagesEqualOneRank) {
  for (const int stage : {0, 1, 2, 3}) {
    expect_equals_one_rank({.mesh = {.pp = 2, .dp = stage == 0 ? 1 : 2}, .zero_stage = stage});
  }
  expect_equals_one_rank({.mesh = {.pp = 2}, .chunks = 2});
}

TEST(HybridEngine, AllOfThemEqualOneRank) {
  expect_equals_one_rank(
      {.mesh = {.pp = 2, .dp = 2, .tp = 2}, .zero_stage = 1, .sequence_parallel = true});
  expect_equals_one_rank({.mesh = {.pp = 2, .dp = 2, .tp = 2}, .zero_stage = 3});
  expect_equals_one_rank(
      {.mesh = {.pp = 2, .dp = 2, .tp = 2}, .zero_stage = 2, .join_values = true});
}

// Two engines on one rank: the norm is over both.
TEST(HybridEngine, ChunksOfARankCountTogether) {
  comm::run_ranks(1, [](comm::World& world) {
    CutModel whole, cut;
    cut.units()[0].params[0]->uses = 1;
    Engine all(whole.units(), world.world_group(), {});
    Engine first(cut.units(0, 2), world.world_group(), {});
    const std::vector<nn::UnitParams> rest = cut.units(2, 3);
    Engine second(rest, world.world_group(), {});
    const auto step = [](Engine& engine, const std::vector<nn::UnitParams>& units) {
      engine.begin_step(1);
      testing::run_micro_batch(engine, units, {});
      engine.finish_step();
    };
    step(first, cut.units(0, 2));
    step(second, rest);
    const double a = grad_norm({&first}), b = grad_norm({&second});
    EXPECT_DOUBLE_EQ(grad_norm({&first, &second}), std::sqrt(a * a + b * b));
    first.flat_buffers()[0].grad[0] = NAN;
    second.flat_buffers()[0].grad[0] = NAN;
    EXPECT_THAT(non_finite_gradients({&first, &second}, 5), ElementsAre("table", "block1.q"));
    EXPECT_THAT(non_finite_gradients({&first, &second}, 1), ElementsAre("table"));
    EXPECT_EQ(first.parameter_count() + second.parameter_count() + 11 + 9, all.parameter_count());
  });
}

TEST(TiedGrads, SumsWhatOneRankHoldsBothOf) {
  comm::run_ranks(1, [](comm::World& world) {
    CutModel first, last;
    first.tie_table(nn::Tie::kOriginal);
    last.tie_table(nn::Tie::kCopy);
    Engine a(first.units(0, 1), world.world_group(), {});
    Engine b(last.units(3, 4), world.world_group(), {});
    TiedGrads tied({&a, &b}, nullptr);
    const auto grad_of = [](const Engine& engine) {
      for (size_t bucket = 0; bucket < engine.flat_buffers().size(); ++bucket) {
        if (engine.tied_param(bucket) != nullptr) return engine.flat_buffers()[bucket].grad;
      }
      return at::Tensor();
    };
    grad_of(a).fill_(2);
    grad_of(b).fill_(3);
    tied.sum();
    EXPECT_TRUE(grad_of(a).eq(5).all().item<bool>());
    EXPECT_TRUE(grad_of(b).eq(5).all().item<bool>());
    EXPECT_THROW(TiedGrads({&a}, nullptr), Error);
    EXPECT_THROW(TiedGrads({&a, &b}, &world.world_group()), Error);
  });
}

}  // namespace
}  // namespace trireme::parallel
