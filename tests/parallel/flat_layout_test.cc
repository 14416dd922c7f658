#include "trireme/parallel/flat_layout.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
  EXPECT_EQ(regions[1].shape, (std::vector<int64_t>{3, 4}));
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
  region.shape = region.box_shape = {3, 4};
  region.flat_begin = 2;
  region.flat_end = 7;
  region.offset = 10;
  EXPECT_FALSE(region.whole());
  const at::Tensor view = region.view(at::arange(32, at::kFloat));
  EXPECT_EQ(view.dim(), 1);
  EXPECT_EQ(view[0].item<float>(), 10.0F);
  EXPECT_EQ(view.numel(), 5);
}

}  // namespace
}  // namespace trireme::parallel
