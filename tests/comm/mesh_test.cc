#include "trireme/comm/mesh.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "trireme/base/error.h"
#include "trireme/comm/testing.h"

namespace trireme::comm {
namespace {

constexpr std::array<Axis, kAxes> kAll = {Axis::kPp, Axis::kDp, Axis::kCp, Axis::kTp};

TEST(Mesh, TheLastAxisHasNeighbouringRanks) {
  const Mesh mesh({.pp = 2, .dp = 3, .cp = 1, .tp = 4});
  EXPECT_EQ(mesh.size(), 24);
  EXPECT_EQ(mesh.coordinates(0), (Mesh::Coordinates{}));
  EXPECT_EQ(mesh.coordinates(17), (Mesh::Coordinates{.pp = 1, .dp = 1, .cp = 0, .tp = 1}));
  EXPECT_EQ(mesh.along({Axis::kTp}, 17), (std::vector<int>{16, 17, 18, 19}));
  EXPECT_EQ(mesh.along({Axis::kDp}, 17), (std::vector<int>{13, 17, 21}));
  EXPECT_EQ(mesh.along({Axis::kPp}, 17), (std::vector<int>{5, 17}));
  EXPECT_EQ(mesh.along({Axis::kCp}, 17), (std::vector<int>{17}));
}

TEST(Mesh, AnyOrder) {
  const Mesh mesh({.pp = 2, .dp = 2, .tp = 2, .order = parse_axis_order("tp,cp,dp,pp")});
  EXPECT_EQ(mesh.along({Axis::kPp}, 0), (std::vector<int>{0, 1}));
  EXPECT_EQ(mesh.along({Axis::kTp}, 0), (std::vector<int>{0, 4}));
}

// Of thousands of ranks: coordinates and ranks are each other's inverse, lines along axes part the
// ranks, and lines along different axes meet in one rank.
TEST(Mesh, LinesPartTheRanks) {
  for (const char* order : {"pp,dp,cp,tp", "dp,pp,tp,cp", "tp,cp,dp,pp"}) {
    const Mesh mesh({.pp = 4, .dp = 16, .cp = 5, .tp = 8, .order = parse_axis_order(order)});
    ASSERT_EQ(mesh.size(), 2560);
    for (const auto& axes : {std::initializer_list<Axis>{Axis::kTp},
                             {Axis::kDp, Axis::kCp},
                             {Axis::kPp, Axis::kTp},
                             {Axis::kPp, Axis::kDp, Axis::kCp, Axis::kTp}}) {
      std::map<std::vector<int>, int> lines;
      for (int rank = 0; rank < mesh.size(); ++rank) {
        ASSERT_EQ(mesh.rank(mesh.coordinates(rank)), rank);
        const std::vector<int> line = mesh.along(axes, rank);
        for (const int other : line) {
          for (const Axis axis : kAll) {
            if (std::find(axes.begin(), axes.end(), axis) != axes.end()) continue;
            ASSERT_EQ(mesh.coordinates(other)[axis], mesh.coordinates(rank)[axis]);
          }
        }
        ++lines[line];
      }
      for (const auto& [line, members] : lines) {
        EXPECT_EQ(static_cast<size_t>(members), line.size());
        EXPECT_EQ(std::set<int>(line.begin(), line.end()).size(), line.size());
      }
    }
  }
}

TEST(Mesh, WhatIsNoMesh) {
  EXPECT_THROW(Mesh({.pp = 0}), Error);
  EXPECT_THROW(Mesh({.tp = -2}), Error);
  EXPECT_THROW(Mesh({.order = {Axis::kPp, Axis::kPp, Axis::kCp, Axis::kTp}}), Error);
  for (const char* order : {"", "pp", "pp,dp,cp", "pp,dp,cp,pp", "pp,dp,cp,tp,tp", "pp,dp,cp,ep",
                            "pp,dp,cp,tp,", "PP,DP,CP,TP"}) {
    EXPECT_THROW(parse_axis_order(order), Error) << order;
  }
}

TEST(MeshGroups, SumAlongEachAxis) {
  run_ranks(8, [](World& world) {
    MeshGroups groups(world, Mesh({.pp = 2, .dp = 2, .tp = 2}));
    const auto sum = [&](std::initializer_list<Axis> axes) {
      const at::Tensor x = at::full({1}, 1 << world.rank(), at::kInt);
      groups.along(axes).all_reduce(x, ReduceOp::kSum, "mesh test")->wait();
      return x.item<int>();
    };
    for (int again = 0; again < 2; ++again) {
      for (const auto& axes : {std::initializer_list<Axis>{Axis::kPp},
                               {Axis::kDp},
                               {Axis::kCp},
                               {Axis::kTp},
                               {Axis::kDp, Axis::kCp},
                               {Axis::kPp, Axis::kTp},
                               {Axis::kPp, Axis::kDp, Axis::kCp, Axis::kTp}}) {
        int expected = 0;
        for (const int rank : groups.mesh().along(axes, world.rank())) expected += 1 << rank;
        EXPECT_EQ(sum(axes), expected);
      }
    }
  });
}

TEST(MeshGroups, AMeshThatDoesNotFitTheWorld) {
  run_ranks(2, [](World& world) { EXPECT_THROW(MeshGroups(world, Mesh({.pp = 3})), Error); });
}

}  // namespace
}  // namespace trireme::comm
