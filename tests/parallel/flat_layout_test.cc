#include "trireme/parallel/flat_layout.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "trireme/base/error.h"
#include "trireme/parallel/region.h"

namespace trireme::parallel {
namespace {

using ::testing::HasSubstr;

nn::ParamSpec spec(const std::string& name, std::vector<int64_t> shape, bool decay = true,
                   double lr_scale = 1.0) {
  nn::ParamSpec spec;
  spec.name = name;
  spec.shape = std::move(shape);
  spec.parts = {{name, spec.shape[0]}};
  spec.decay = decay;
  spec.lr_scale = lr_scale;
  return spec;
}

TEST(FlatLayout, OrdersBySettingsAndAligns) {
  nn::Param bias(spec("bias", {3}, false)), slow(spec("slow", {40}, true, 0.5)),
      weight(spec("weight", {3, 11})), norm(spec("norm", {3}, false));
  const auto layouts = lay_out({{"block", {&bias, &slow, &weight, &norm}}}, 1);
  ASSERT_EQ(layouts.size(), 1U);
  const FlatLayout& layout = layouts[0];
  ASSERT_EQ(layout.slots.size(), 4U);
  EXPECT_EQ(layout.slots[0].param, &slow);
  EXPECT_EQ(layout.slots[1].param, &weight);
  EXPECT_EQ(layout.slots[2].param, &bias);
  EXPECT_EQ(layout.slots[3].param, &norm);
  EXPECT_EQ(layout.slots[1].offset, 64);
  EXPECT_EQ(layout.slots[2].offset, 128);
  EXPECT_EQ(layout.slots[3].offset, 160);
  EXPECT_EQ(layout.numel, 192);
  ASSERT_EQ(layout.ranges.size(), 3U);
  EXPECT_EQ(layout.ranges[0].end, 64);
  EXPECT_EQ(layout.ranges[0].lr_scale, 0.5);
  EXPECT_EQ(layout.ranges[1].begin, 64);
  EXPECT_EQ(layout.ranges[1].end, 128);
  EXPECT_TRUE(layout.ranges[1].decay);
  EXPECT_EQ(layout.ranges[2].end, 192);
  EXPECT_FALSE(layout.ranges[2].decay);
}

TEST(FlatLayout, IsPaddedToEqualAlignedShards) {
  nn::Param weight(spec("weight", {33}));
  EXPECT_EQ(lay_out({{"block", {&weight}}}, 1)[0].numel, 64);
  const FlatLayout layout = lay_out({{"block", {&weight}}}, 3)[0];
  EXPECT_EQ(layout.numel, 96);
  EXPECT_EQ(layout.ranges.back().end, 96);
}

TEST(FlatLayout, AUnitWhoseParamsLieElsewhereHasNoBucket) {
  nn::Param weight(spec("weight", {33}));
  EXPECT_EQ(lay_out({{"first", {&weight}}, {"second", {&weight}}}, 1).size(), 1U);
}

TEST(FlatLayout, RefusesANameTwice) {
  nn::Param a(spec("weight", {3})), b(spec("weight", {4}));
  try {
    lay_out({{"block", {&a, &b}}}, 1);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("weight"));
  }
}

TEST(Region, PartsOfAFusedParamLieBehindEachOther) {
  nn::ParamSpec fused = spec("qkv", {6, 4});
  fused.parts = {{"query", 2}, {"key", 3}, {"value", 1}};
  nn::Param qkv(fused), bias(spec("bias", {6}, false));
  const auto regions = make_regions(lay_out({{"block", {&bias, &qkv}}}, 2));
  ASSERT_EQ(regions.size(), 4U);
  EXPECT_EQ(regions[1].name, "key");
  EXPECT_EQ(regions[1].shape(), (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(regions[1].offset, 8);
  EXPECT_EQ(regions[1].numel(), 12);
  EXPECT_EQ(regions[2].offset, 20);
  EXPECT_EQ(regions[3].name, "bias");
  EXPECT_EQ(regions[3].offset, 32);
  EXPECT_TRUE(regions[1].whole());
  const at::Tensor flat = at::arange(64, at::kFloat);
  EXPECT_EQ(regions[1].view(flat).sizes(), (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(regions[1].view(flat)[2][3].item<float>(), 19.0F);
}

TEST(Region, AShardIsAFlatRun) {
  Region region;
  region.cut = nn::TensorCut::all_of({3, 4});
  region.flat_begin = 2;
  region.flat_end = 7;
  region.offset = 10;
  EXPECT_FALSE(region.whole());
  const at::Tensor view = region.view(at::arange(32, at::kFloat));
  EXPECT_EQ(view.dim(), 1);
  EXPECT_EQ(view[0].item<float>(), 10.0F);
  EXPECT_EQ(view.numel(), 5);
}

TEST(FlatLayout, FrozenParamsHaveABucketOfTheirOwn) {
  nn::Param weight(spec("weight", {3})), table(spec("table", {5}));
  table.spec.frozen = true;
  const auto layouts = lay_out({{"block", {&table, &weight}}}, 2);
  ASSERT_EQ(layouts.size(), 2U);
  EXPECT_EQ(layouts[0].slots[0].param, &weight);
  EXPECT_FALSE(layouts[0].frozen);
  EXPECT_EQ(layouts[1].slots[0].param, &table);
  EXPECT_TRUE(layouts[1].frozen);
  EXPECT_EQ(layouts[1].numel, 64);
}

TEST(FlatLayout, RangesOfAShardCoverIt) {
  nn::Param weight(spec("weight", {70})), bias(spec("bias", {3}, false));
  const FlatLayout layout = lay_out({{"block", {&weight, &bias}}}, 4)[0];
  ASSERT_EQ(layout.numel, 128);  // the weight to 96
  const auto of_shard = [&](int shard) { return cut_ranges(layout, shard_run(layout, 4, shard)); };
  ASSERT_EQ(of_shard(2).size(), 1U);
  EXPECT_TRUE(of_shard(2)[0].decay);
  EXPECT_EQ(of_shard(2)[0].end, 32);
  ASSERT_EQ(of_shard(3).size(), 1U);
  EXPECT_FALSE(of_shard(3)[0].decay);
  EXPECT_EQ(of_shard(3)[0].begin, 0);
  const auto halves = cut_ranges(layout, shard_run(layout, 2, 1));
  ASSERT_EQ(halves.size(), 2U);
  EXPECT_EQ(halves[0].end, 32);
  EXPECT_EQ(halves[1].begin, 32);
  EXPECT_EQ(halves[1].end, 64);
}

// Whatever the number of shards, every element of every part is in one of them once.
TEST(Region, ShardsCutThePartsUp) {
  nn::ParamSpec fused = spec("qkv", {6, 7});
  fused.parts = {{"query", 2}, {"key", 3}, {"value", 1}};
  nn::Param qkv(fused), bias(spec("bias", {45}, false));
  for (const int shards : {1, 2, 3, 5}) {
    const auto layouts = lay_out({{"block", {&bias, &qkv}}}, shards);
    const auto whole = make_regions(layouts);
    const at::Tensor flat = at::arange(layouts[0].numel, at::kFloat);
    std::map<std::string, int64_t> seen;
    for (int shard = 0; shard < shards; ++shard) {
      const ShardRun run = shard_run(layouts[0], shards, shard);
      for (const Region& region : cut_regions(whole, layouts, shards, shard)) {
        EXPECT_EQ(region.flat_begin, seen[region.name]);
        seen[region.name] = region.flat_end;
        const auto all = std::find_if(whole.begin(), whole.end(),
                                      [&](const Region& r) { return r.name == region.name; });
        const at::Tensor want = flat.narrow(0, all->offset + region.flat_begin, region.numel());
        EXPECT_TRUE(
            at::equal(region.view(flat.narrow(0, run.begin, run.numel)).reshape({-1}), want));
      }
    }
    for (const Region& region : whole) EXPECT_EQ(seen[region.name], region.numel());
  }
}

TEST(FlatLayout, ATiedParamLiesAloneAndAlikeOnBothStages) {
  nn::Param table(spec("table", {50})), position(spec("position", {7})), bias(spec("bias", {9}));
  table.spec.tie = nn::Tie::kOriginal;
  const auto first = lay_out({{"embeddings", {&table, &position}}}, 3);
  table.spec.tie = nn::Tie::kCopy;
  const auto last = lay_out({{"head", {&bias, &table}}}, 3);
  ASSERT_EQ(first.size(), 2U);
  ASSERT_EQ(last.size(), 2U);
  EXPECT_EQ(first[0].name, "embeddings (tied)");
  EXPECT_EQ(first[1].slots[0].param, &position);
  EXPECT_EQ(first[0].numel, last[0].numel);
  EXPECT_EQ(first[0].slots[0].offset, last[0].slots[0].offset);
  EXPECT_FALSE(first[0].copy);
  EXPECT_TRUE(last[0].copy);
  EXPECT_FALSE(last[1].copy);
  table.spec.frozen = true;
  EXPECT_THROW(lay_out({{"head", {&bias, &table}}}, 3), Error);
}

// Whatever the slices and the shards, every element of every part is on one rank once, if it is
// cut, and on each tensor-parallel rank once, if not; and the runs say where.
TEST(Region, SlicesAndShardsCutThePartsUp) {
  nn::ParamSpec fused = spec("qkv", {6, 7}), conv = spec("conv", {4, 15}),
                row = spec("row", {5, 6}), norm = spec("norm", {45}, false);
  fused.parts = {{"query", 2}, {"key", 3}, {"value", 1}};
  conv.tp_blocks = 3;
  conv.tp_dim = row.tp_dim = 1;
  for (nn::ParamSpec* cut : {&fused, &conv, &row}) cut->tp = nn::TpKind::kShard;
  for (const int tp : {1, 2, 3, 4}) {
    for (const int shards : {1, 2, 3, 5}) {
      std::map<std::string, at::Tensor> seen;
      for (int rank = 0; rank < tp; ++rank) {
        nn::Param a(fused), b(conv), c(row), d(norm);
        for (nn::Param* param : {&a, &b, &c, &d}) param->slice = {rank, tp};
        const auto layouts = lay_out({{"block", {&a, &b, &c, &d}}}, shards);
        const auto whole = make_regions(layouts);
        for (int shard = 0; shard < shards; ++shard) {
          const int64_t most = shard_run(layouts[0], shards, shard).numel;
          for (const Region& region : cut_regions(whole, layouts, shards, shard)) {
            at::Tensor& counts = seen[region.name];
            if (!counts.defined()) counts = at::zeros(region.shape(), at::kLong);
            int64_t next = region.offset;
            region.each_run([&](const nn::CutRun& run) {
              EXPECT_EQ(run.local, next);
              next += run.numel;
              counts.view({-1}).narrow(0, run.global, run.numel).add_(1);
            });
            EXPECT_EQ(next, region.offset + region.numel());
            EXPECT_LE(next, most);
          }
        }
      }
      EXPECT_EQ(seen.size(), 6U);
      for (const auto& [name, counts] : seen) {
        EXPECT_TRUE(counts.eq(name == "norm" ? tp : 1).all().item<bool>()) << name << tp << shards;
      }
    }
  }
}

TEST(Region, ACompleteCutHasItsShape) {
  nn::ParamSpec cut = spec("weight", {5, 4});
  cut.tp = nn::TpKind::kShard;
  nn::Param weight(cut);
  weight.slice = {1, 2};
  const auto layouts = lay_out({{"block", {&weight}}}, 1);
  const Region region = make_regions(layouts).at(0);
  EXPECT_TRUE(region.complete());
  EXPECT_FALSE(region.whole());
  EXPECT_EQ(region.view(at::zeros({layouts[0].numel})).sizes(), (std::vector<int64_t>{3, 4}));
}

}  // namespace
}  // namespace trireme::parallel
