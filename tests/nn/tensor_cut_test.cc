#include "trireme/nn/tensor_cut.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trireme/base/error.h"
#include "trireme/nn/param.h"

namespace trireme::nn {
namespace {

using ::testing::ElementsAre;

TEST(SliceOf, CoversWithSizesThatDifferByOne) {
  EXPECT_EQ(slice_of(50257, {0, 2}), (DimRange{0, 25128}));
  EXPECT_EQ(slice_of(50257, {1, 2}), (DimRange{25128, 50257}));
  for (const int64_t n : {0, 1, 2, 5, 12, 97}) {
    for (const int size : {1, 2, 3, 5, 8}) {
      int64_t end = 0;
      for (int rank = 0; rank < size; ++rank) {
        const DimRange mine = slice_of(n, {rank, size});
        EXPECT_EQ(mine.begin, end);
        EXPECT_GE(mine.size(), n / size);
        EXPECT_LE(mine.size(), n / size + 1);
        end = mine.end;
      }
      EXPECT_EQ(end, n);
    }
  }
}

ParamSpec cut_along(int dim, std::vector<int64_t> shape, int blocks = 1) {
  ParamSpec spec;
  spec.name = "w";
  spec.parts = {{"w", shape[0]}};
  spec.shape = std::move(shape);
  spec.tp = TpKind::kShard;
  spec.tp_dim = dim;
  spec.tp_blocks = blocks;
  return spec;
}

TEST(TensorCut, IsSlicesOfBlocksEndToEnd) {
  const ParamSpec spec = cut_along(1, {2, 15}, 3);  // [in, query | key | value]
  const TensorCut cut = cut_part(spec, spec.parts[0], {1, 2});
  EXPECT_THAT(cut.ranges, ElementsAre(DimRange{2, 5}, DimRange{7, 10}, DimRange{12, 15}));
  EXPECT_THAT(cut.local_shape(), ElementsAre(2, 9));
  EXPECT_THAT(spec.local_shape({0, 2}), ElementsAre(2, 6));
  EXPECT_FALSE(cut.whole());
  EXPECT_TRUE(cut_part(spec, spec.parts[0], {}).whole());
  const at::Tensor global = at::arange(30, at::kFloat).view({2, 15});
  const at::Tensor local = at::empty({2, 9});
  cut.copy_from(local, global);
  EXPECT_TRUE(at::equal(local[1], at::tensor({17, 18, 19, 22, 23, 24, 27, 28, 29}, at::kFloat)));
}

TEST(TensorCut, OfAReplicatedParamIsAllOfIt) {
  ParamSpec spec = cut_along(0, {5, 3});
  spec.tp = TpKind::kReplicatedPartialGrad;
  EXPECT_TRUE(cut_part(spec, spec.parts[0], {1, 2}).whole());
  EXPECT_THAT(spec.local_shape({1, 2}), ElementsAre(5, 3));
}

TEST(TensorCut, BlocksMustBeEqual) {
  const ParamSpec spec = cut_along(1, {2, 16}, 3);
  EXPECT_THROW(spec.local_shape({0, 2}), Error);
}

// Every element of the whole tensor is in one run of one rank, at its place there; runs of any
// [begin, end) are those of all, cut.
TEST(TensorCut, RunsOfAllRanksCoverEachElementOnce) {
  const std::vector<std::vector<int64_t>> shapes = {{6},       {5, 3},  {1, 6},
                                                    {2, 6, 3}, {12, 2}, {0, 3}};
  for (const std::vector<int64_t>& shape : shapes) {
    for (int dim = 0; dim < static_cast<int>(shape.size()); ++dim) {
      for (const int blocks : {1, 2, 3}) {
        if (shape[static_cast<size_t>(dim)] % blocks != 0) continue;
        const ParamSpec spec = cut_along(dim, shape, blocks);
        const at::Tensor global = at::arange(spec.numel(), at::kLong).view(shape);
        for (const int size : {1, 2, 3, 7}) {
          at::Tensor seen = at::zeros({spec.numel()}, at::kLong);
          for (int rank = 0; rank < size; ++rank) {
            const TensorCut cut = cut_part(spec, spec.parts[0], {rank, size});
            const at::Tensor local = at::empty(cut.local_shape(), at::kLong);
            cut.copy_from(local, global);
            const at::Tensor flat = local.view({-1});
            for (int64_t begin = 0; begin <= flat.numel(); begin += 4) {
              int64_t next = begin;
              cut.each_run(begin, std::min(begin + 4, flat.numel()), [&](const CutRun& run) {
                EXPECT_EQ(run.local, next);
                EXPECT_GT(run.numel, 0);
                next += run.numel;
                EXPECT_TRUE(at::equal(flat.narrow(0, run.local, run.numel),
                                      global.view({-1}).narrow(0, run.global, run.numel)));
                seen.narrow(0, run.global, run.numel).add_(1);
              });
              EXPECT_EQ(next, std::min(begin + 4, flat.numel()));
            }
          }
          EXPECT_TRUE(seen.eq(1).all().item<bool>()) << at::IntArrayRef(shape) << dim << size;
        }
      }
    }
  }
}

}  // namespace
}  // namespace trireme::nn
