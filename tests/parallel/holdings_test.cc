#include "trireme/parallel/holdings.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/parallel/hybrid_run.h"
#include "trireme/comm/testing.h"

namespace trireme::parallel {
namespace {

using testing::CutModel;
using ::testing::HasSubstr;
using testing::HybridLayout;
using testing::HybridRun;
using testing::made_up;
using testing::WholeTensors;

std::vector<Chunk> chunks_of(HybridRun& run) {
  std::vector<Chunk> chunks;
  for (const HybridRun::Chunk& chunk : run.chunks()) {
    chunks.push_back({chunk.engine.get(), chunk.place});
  }
  return chunks;
}

class HoldingsLayouts : public ::testing::TestWithParam<HybridLayout> {};

INSTANTIATE_TEST_SUITE_P(
    All, HoldingsLayouts,
    ::testing::Values(HybridLayout{}, HybridLayout{.mesh = {.dp = 2}},
                      HybridLayout{.mesh = {.dp = 2}, .zero_stage = 3},
                      HybridLayout{.mesh = {.tp = 3}, .dtype = at::kBFloat16},
                      HybridLayout{.mesh = {.dp = 2, .tp = 2}},
                      HybridLayout{.mesh = {.dp = 2, .tp = 2}, .zero_stage = 1},
                      HybridLayout{.mesh = {.pp = 2, .dp = 2}, .zero_stage = 0},
                      HybridLayout{.mesh = {.pp = 2}, .chunks = 2},
                      HybridLayout{.mesh = {.dp = 2, .tp = 2},
                                   .zero_stage = 3,
                                   .join_values = true,
                                   .dtype = at::kBFloat16},
                      HybridLayout{.mesh = {.pp = 2, .dp = 2, .tp = 2}, .zero_stage = 2}));

// Rank 0 reads each tensor of the model once, and every rank has its part; what is collected is
// what was read.
TEST_P(HoldingsLayouts, DealAndCollectWholeTensors) {
  WholeTensors masters;
  std::map<std::string, at::Tensor> read, collected;
  comm::run_ranks(GetParam().ranks(), [&](comm::World& world) {
    HybridRun run(world, GetParam());
    const Holdings holdings(world.world_group(), chunks_of(run));
    load_masters(holdings, [&](const std::string& name, const at::Tensor& whole) {
      EXPECT_EQ(world.rank(), 0);
      whole.copy_(made_up(name, whole.sizes().vec(), 9));
      read[name] = whole.clone();
    });
    run.add_to(masters, &optim::FlatBuffer::master);
    for (HybridRun::Chunk& chunk : run.chunks()) {
      for (nn::Param* param : nn::params_once(chunk.units)) {
        if (!param->value.defined()) continue;  // stage 3
        for (const nn::PartView& part : nn::part_views(*param, param->value)) {
          at::Tensor want = at::empty_like(part.view);
          part.cut.copy_from(want, made_up(part.part->name, part.cut.shape, 9));
          EXPECT_TRUE(at::equal(part.view, want)) << part.part->name;
        }
      }
    }
    for (const Holdings::Entry& entry : holdings.entries()) {
      at::Tensor own;
      if (entry.chunk) {
        const Engine& engine = *holdings.chunks()[*entry.chunk].engine;
        own = engine.flat_buffers()[entry.bucket].master;
      }
      const Holdings::Collected flats = holdings.collect(entry, own);
      for (size_t i = 0; i < entry.tensors.size() && !entry.copy; ++i) {
        collected[entry.tensors[i].name] = flats.tensor(i).clone();
      }
    }
    world.world_group().barrier("end of a run");
  });
  EXPECT_EQ(read.size(), 1U + 1 + 2 * 10 + 2);
  testing::expect_same(masters.tensors(), read);
  testing::expect_same(collected, read);
}

// Padding stays zero on the ranks that were sent to.
TEST(Holdings, PaddingStaysZero) {
  comm::run_ranks(2, [&](comm::World& world) {
    HybridRun run(world, {.mesh = {.dp = 2}, .zero_stage = 1});
    const Holdings holdings(world.world_group(), chunks_of(run));
    load_masters(holdings, [](const std::string&, const at::Tensor& whole) { whole.fill_(1); });
    const Engine& engine = *run.chunks()[0].engine;
    int64_t elements = 0;
    double sum = 0;
    for (const Region& region : engine.regions()) elements += region.numel();
    for (const optim::FlatBuffer& buffer : engine.flat_buffers()) {
      sum += buffer.master.sum().item<double>();
    }
    EXPECT_EQ(sum, static_cast<double>(elements));
    world.world_group().barrier("end of a run");
  });
}

TEST(Holdings, RefuseAModelThatIsNotAllThere) {
  comm::run_ranks(1, [](comm::World& world) {
    CutModel model;
    for (nn::Param* param : nn::params_once(model.units())) param->uses = 1;
    Engine engine(model.units(0, 1), world.world_group(), {});
    Engine other(model.units(1, 2), world.world_group(), {});
    EXPECT_THROW(Holdings(world.world_group(), {{&engine, 1}, {&other, 1}}), Error);
  });
}

// The slices of the cut tensor differ in size, so tensor-parallel ranks' shards end at different
// elements of the one that they hold alike.
TEST(Holdings, WhatTensorParallelRanksHoldAlikeCountsOnce) {
  comm::run_ranks(4, [](comm::World& world) {
    comm::MeshGroups groups(world, comm::Mesh({.dp = 2, .tp = 2}));
    nn::Param cut(nn::matrix_spec("cut", 3, 32, 0.1)), norm(nn::matrix_spec("norm", 128, 1, 0.1));
    cut.spec.tp = nn::TpKind::kShard;
    Engine engine({{"unit", {&cut, &norm}}}, groups.along({comm::Axis::kDp}),
                  {.zero_stage = 1, .join_values = false, .tp = &groups.along({comm::Axis::kTp})});
    const Holdings holdings(world.world_group(), {{&engine}});
    load_masters(holdings, [](const std::string& name, const at::Tensor& whole) {
      whole.copy_(made_up(name, whole.sizes().vec(), 2));
    });
    const Holdings::Collected flats =
        holdings.collect(holdings.entries()[0], engine.flat_buffers()[0].master);
    if (world.rank() == 0) {
      EXPECT_TRUE(at::equal(flats.tensor(0), made_up("cut", {3, 32}, 2)));
      EXPECT_TRUE(at::equal(flats.tensor(1), made_up("norm", {128, 1}, 2)));
    }
    EXPECT_TRUE(at::equal(norm.value, made_up("norm", {128, 1}, 2)));
    world.world_group().barrier("end of a run");
  });
}

TEST(Holdings, ATensorWithoutElementsIsThere) {
  comm::run_ranks(2, [](comm::World& world) {
    nn::Param none(nn::matrix_spec("none", 0, 3, 0.1)), some(nn::matrix_spec("some", 40, 1, 0.1));
    Engine engine({{"unit", {&some, &none}}}, world.world_group(), {.zero_stage = 1});
    const Holdings holdings(world.world_group(), {{&engine}});
    const Holdings::Collected flats =
        holdings.collect(holdings.entries()[0], engine.flat_buffers()[0].master);
    if (world.rank() == 0) {
      ASSERT_EQ(holdings.entries()[0].tensors.size(), 2U);
      EXPECT_EQ(flats.tensor(0).sizes(), (std::vector<int64_t>{40, 1}));
      EXPECT_EQ(flats.tensor(1).sizes(), (std::vector<int64_t>{0, 3}));
    }
    world.world_group().barrier("end of a run");
  });
}

}  // namespace
}  // namespace trireme::parallel
