// The engine where tensor parallelism cuts Params and a pipeline cuts the model, against one rank.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "tests/parallel/cut_model.h"
#include "trireme/base/error.h"
#include "trireme/comm/testing.h"
#include "trireme/optim/adamw.h"
#include "trireme/parallel/global_norm.h"
#include "trireme/parallel/tied_grads.h"

namespace trireme::parallel {
namespace {

using comm::Axis;
using testing::CutModel;
using ::testing::ElementsAre;
using testing::WholeTensors;

constexpr uint64_t kSeed = 5;
constexpr int kSamples = 4;  // "micro-batches" in all: of the data ranks together

struct Layout {
  comm::MeshShape mesh;
  int zero_stage = 0;
  bool join_values = false;
  bool sequence_parallel = false;
  at::ScalarType dtype = at::kFloat;
};

std::string text(const Layout& l) {
  return cat("pp", l.mesh.pp, " dp", l.mesh.dp, " tp", l.mesh.tp, " zero", l.zero_stage,
             l.sequence_parallel ? " sequence" : "", " ", c10::toString(l.dtype));
}

struct Result {
  WholeTensors initial, gradients, masters;
  std::vector<double> norms;  // by rank
  std::vector<std::vector<std::string>> not_finite;
};

void run_rank(comm::World& world, const Layout& layout, Result& result) {
  comm::MeshGroups groups(world, comm::Mesh(layout.mesh));
  const comm::Mesh::Coordinates here = groups.here();
  comm::Group& data = groups.along({Axis::kDp, Axis::kCp});
  comm::Group& tp = groups.along({Axis::kTp});
  comm::Group& model = groups.along({Axis::kPp, Axis::kTp});
  comm::Group& pp = groups.along({Axis::kPp});

  CutModel whole;
  std::vector<std::vector<nn::UnitParams>> stages;
  for (int stage = 0; stage < layout.mesh.pp; ++stage) {
    stages.push_back(whole.units(static_cast<size_t>(4 * stage / layout.mesh.pp),
                                 static_cast<size_t>(4 * (stage + 1) / layout.mesh.pp)));
  }
  const auto stage = static_cast<size_t>(here.pp);
  const bool tied = !mark_ties(stages, stage).empty();
  Engine engine(stages[stage], data,
                {.compute_dtype = layout.dtype,
                 .zero_stage = layout.zero_stage,
                 .join_values = layout.join_values,
                 .tp = &tp,
                 .sequence_parallel = layout.sequence_parallel,
                 .model = &model});
  std::optional<TiedGrads> ties;
  if (tied) ties.emplace(engine, pp);
  engine.init(kSeed);
  result.initial.add(engine, &optim::FlatBuffer::master);
  optim::AdamW adamw(engine.flat_buffers(), {.eps = 1e-2});

  // The data ranks share the samples out; each has two of them or more, one a micro-batch.
  const int mine = kSamples / layout.mesh.dp;
  engine.begin_step(mine);
  for (int m = 0; m < mine; ++m) {
    testing::run_micro_batch(engine, stages[stage],
                             {.data_rank = static_cast<uint64_t>(here.dp * mine + m),
                              .sequence_parallel = layout.sequence_parallel});
  }
  engine.finish_step();
  if (ties) ties->sum();
  result.gradients.add(engine, &optim::FlatBuffer::grad);
  const double norm = grad_norm({&engine});
  result.norms.at(static_cast<size_t>(world.rank())) = norm;
  adamw.step({.lr = 1e-2, .grad_factor = 0.5});
  engine.gather_updates();
  result.masters.add(engine, &optim::FlatBuffer::master);

  // Both holders of the tied table have the same bits.
  if (tied) {
    for (size_t b = 0; b < engine.flat_buffers().size(); ++b) {
      if (engine.tied_param(b) == nullptr) continue;
      const at::Tensor& master = engine.flat_buffers()[b].master;
      const at::Tensor both = at::empty({2 * master.numel()}, at::kFloat);
      pp.all_gather(both, master, "both tables")->wait();
      EXPECT_TRUE(at::equal(both.narrow(0, 0, master.numel()),
                            both.narrow(0, master.numel(), master.numel())));
    }
  }

  // A NaN in one tensor is known to all ranks, by its name. Where nothing is sharded the data ranks
  // hold the same masters.
  const bool holds = here.pp == layout.mesh.pp - 1 && here.tp == layout.mesh.tp - 1 &&
                     (here.dp == 0 || layout.zero_stage == 0);
  if (holds) {
    const Region& last = engine.regions().back();
    last.view(engine.flat_buffers()[last.bucket].master).view({-1})[0] = NAN;
  }
  result.not_finite.at(static_cast<size_t>(world.rank())) = non_finite_masters({&engine}, 3);
  EXPECT_THAT(non_finite_gradients({&engine}, 3), ElementsAre());
  world.world_group().barrier("end of a run");
}

std::unique_ptr<Result> run(const Layout& layout) {
  const int ranks = comm::Mesh(layout.mesh).size();
  auto result = std::make_unique<Result>();
  result->norms.resize(static_cast<size_t>(ranks));
  result->not_finite.resize(static_cast<size_t>(ranks));
  comm::run_ranks(ranks, [&](comm::World& world) { run_rank(world, layout, *result); });
  return result;
}

void expect_equals_one_rank(const Layout& layout) {
  SCOPED_TRACE(text(layout));
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

TEST(TiedGrads, FindsWhatStagesShare) {
  CutModel model;
  const std::vector<std::vector<nn::UnitParams>> stages = {model.units(0, 1), model.units(1, 2),
                                                           model.units(2, 4)};
  const std::vector<TiedParam> ties = find_ties(stages);
  ASSERT_EQ(ties.size(), 1U);
  EXPECT_EQ(ties[0].param->spec.name, "table");
  EXPECT_THAT(ties[0].stages, ElementsAre(0U, 2U));
  EXPECT_TRUE(mark_ties(stages, 1).empty());
  EXPECT_EQ(ties[0].param->spec.tie, nn::Tie::kNone);
  EXPECT_EQ(mark_ties(stages, 0).size(), 1U);
  EXPECT_EQ(ties[0].param->spec.tie, nn::Tie::kOriginal);
  EXPECT_EQ(ties[0].param->uses, 1);
  EXPECT_TRUE(ties[0].param->spec.sparse_grad);
  mark_ties(stages, 2);
  EXPECT_EQ(ties[0].param->spec.tie, nn::Tie::kCopy);
  EXPECT_FALSE(ties[0].param->spec.sparse_grad);
  EXPECT_TRUE(find_ties({model.units()}).empty());
}

}  // namespace
}  // namespace trireme::parallel
