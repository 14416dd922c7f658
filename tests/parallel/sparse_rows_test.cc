#include "trireme/parallel/sparse_rows.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "trireme/comm/testing.h"

namespace trireme::parallel {
namespace {

constexpr int64_t kV = 700, kH = 70;  // more rows than one thread's share; no multiple of a block

// Rank r's gradient: rows that only it touched, one that all did, and the signs and values that a
// shortcut could lose.
at::Tensor gradient(int rank) {
  at::Tensor grad = at::zeros({kV, kH});
  const auto row = [&](int64_t v) { return grad[v]; };
  row(10 + rank * 100).fill_(0.1 * (rank + 1));
  row(699).fill_(1.0 / (rank + 3));
  row(5)[kH - 1] = rank == 0 ? 2.5 : 0.0;
  if (rank == 0) row(6).fill_(-0.0);
  if (rank == 1) row(7)[3] = std::numeric_limits<double>::quiet_NaN();
  return grad;
}

class SparseRowsRanks : public ::testing::TestWithParam<int> {};

TEST_P(SparseRowsRanks, EqualTheDenseSum) {
  comm::run_ranks(GetParam(), [](comm::World& world) {
    comm::Group& group = world.world_group();
    at::Tensor dense = gradient(world.rank()), grad = dense.clone();
    group.all_reduce(dense, comm::ReduceOp::kSum, "dense")->wait();
    SparseRows sum(grad, group, "sparse");
    sum.finish();
    EXPECT_TRUE(at::allclose(grad, dense, 1e-6, 0.0, /*equal_nan=*/true));
    EXPECT_TRUE(grad.signbit().equal(dense.signbit()));
    // The same bits everywhere.
    at::Tensor of_rank_zero = grad.clone();
    group.broadcast(of_rank_zero, 0, "sum")->wait();
    EXPECT_TRUE(grad.view(at::kInt).equal(of_rank_zero.view(at::kInt)));
  });
}

INSTANTIATE_TEST_SUITE_P(All, SparseRowsRanks, ::testing::Values(1, 2, 3, 4));

TEST(SparseRows, NothingTouchedIsNothingSent) {
  comm::run_ranks(2, [](comm::World& world) {
    at::Tensor grad = at::zeros({kV, kH});
    SparseRows sum(grad, world.world_group(), "sparse");
    sum.finish();
    EXPECT_EQ(grad.abs().sum().item<double>(), 0.0);
  });
}

}  // namespace
}  // namespace trireme::parallel
