// Groups over hosts, each a part of the ranks of this one: 2 hosts of 2 ranks, side by side and
// interleaved. (Real hosts: tests/cli/two_hosts.py.)
#include "trireme/comm/hierarchical_group.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "trireme/base/error.h"
#include "trireme/comm/testing.h"

namespace trireme::comm {
namespace {

using Hosts = std::vector<std::vector<int>>;

void on_hosts(const Hosts& hosts, const std::function<void(World&, Group&)>& f) {
  run_ranks(4, [&](World& world) {
    const auto group = world.make_hierarchy({0, 1, 2, 3}, hosts, "over hosts");
    f(world, *group);
    world.world_group().barrier("end");
  });
}

at::Tensor values(int rank, int64_t n, at::ScalarType dtype) {
  return (at::arange(n, at::kLong).remainder(13) + 10 * rank).to(dtype);
}

class Hierarchy : public testing::TestWithParam<Hosts> {};
INSTANTIATE_TEST_SUITE_P(Layouts, Hierarchy,
                         testing::Values(Hosts{{0, 1}, {2, 3}}, Hosts{{0, 2}, {1, 3}}));

TEST_P(Hierarchy, AllReduceInChunksAndWithARest) {
  on_hosts(GetParam(), [](World& world, Group& group) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kLong}) {
      // The largest is of several chunks of 8 MiB and of odd length.
      for (const int64_t n : {int64_t{1}, int64_t{3}, int64_t{1000}, int64_t{5000001}}) {
        if (n > 1000 && dtype != at::kFloat) continue;
        at::Tensor sum = at::zeros({n}, dtype);
        for (int r = 0; r < 4; ++r) sum += values(r, n, dtype);
        at::Tensor x = values(world.rank(), n, dtype);
        group.all_reduce(x, ReduceOp::kSum, "sum")->wait();
        EXPECT_TRUE(at::equal(x, sum)) << dtype << " " << n;
        x = group.empty(n, dtype);
        x.copy_(values(world.rank(), n, dtype));
        group.all_reduce(x, ReduceOp::kMax, "max")->wait();
        EXPECT_TRUE(at::equal(x, values(3, n, dtype)));
        if (at::isFloatingType(dtype)) {
          x.copy_(values(world.rank(), n, dtype));
          group.all_reduce(x, ReduceOp::kAvg, "avg")->wait();
          EXPECT_TRUE(at::equal(x, sum / 4));
        }
      }
    }
    at::Tensor base = at::zeros({6, 4});
    at::Tensor column = base.select(1, 2);
    column.fill_(world.rank() + 1);
    group.all_reduce(column, ReduceOp::kSum, "column")->wait();
    EXPECT_TRUE(at::equal(column, at::full({6}, 10.0)));
  });
}

TEST_P(Hierarchy, EqualOnAllRanksAndTheSameAgain) {
  on_hosts(GetParam(), [](World& world, Group& group) {
    at::Tensor first;
    for (int round = 0; round < 3; ++round) {
      at::Tensor x = at::arange(100003, at::kFloat).mul(0.1 + world.rank()).sin();
      group.all_reduce(x, ReduceOp::kSum, "x")->wait();
      const at::Tensor all = at::empty({4, 100003});
      group.all_gather(all, x, "all")->wait();
      for (int r = 0; r < 4; ++r) EXPECT_TRUE(at::equal(all[r], x));
      if (first.defined()) {
        EXPECT_TRUE(at::equal(first, x));
      }
      first = x;
    }
  });
}

TEST_P(Hierarchy, TheOtherOperations) {
  on_hosts(GetParam(), [](World& world, Group& group) {
    const int me = world.rank();
    for (int root = 0; root < 4; ++root) {
      at::Tensor x = values(me, 33, at::kInt);
      group.broadcast(x, root, "b")->wait();
      EXPECT_TRUE(at::equal(x, values(root, 33, at::kInt)));
    }
    at::Tensor sum = at::zeros({20});
    for (int r = 0; r < 4; ++r) sum += values(r, 20, at::kFloat);
    at::Tensor part = at::empty({5});
    group.reduce_scatter(part, values(me, 20, at::kFloat), ReduceOp::kSum, "rs")->wait();
    EXPECT_TRUE(at::equal(part, sum.narrow(0, 5 * me, 5)));
    group.reduce_scatter(part, values(me, 20, at::kFloat), ReduceOp::kAvg, "rs")->wait();
    EXPECT_TRUE(at::equal(part, sum.narrow(0, 5 * me, 5) / 4));
    at::Tensor out = at::empty({8}, at::kInt);
    group.all_to_all(out, at::arange(8, at::kInt) + 100 * me, "a2a")->wait();
    for (int r = 0; r < 4; ++r) EXPECT_EQ(out[2 * r].item<int>(), 2 * me + 100 * r);
    // To every other rank, of this host and of the other one.
    std::vector<WorkPtr> works;
    std::vector<at::Tensor> got(4);
    for (int r = 0; r < 4; ++r) {
      if (r == me) continue;
      works.push_back(group.send(at::full({7}, 10 * me + r, at::kInt), r, "m"));
      got[static_cast<size_t>(r)] = at::zeros({7}, at::kInt);
      works.push_back(group.recv(got[static_cast<size_t>(r)], r, "m"));
    }
    for (const WorkPtr& work : works) work->wait();
    for (int r = 0; r < 4; ++r) {
      if (r == me) continue;
      EXPECT_EQ(got[static_cast<size_t>(r)][6].item<int>(), 10 * r + me);
    }
    group.barrier("b");
    group.patient_barrier("b");
  });
}

TEST(HierarchyFaults, ALateRankIsNamed) {
  WorldOptions options;
  options.timeout_s = 0.5;
  std::atomic<int> named = 0;
  EXPECT_THROW(
      run_ranks(
          4,
          [&](World& world) {
            const auto group = world.make_hierarchy({0, 1, 2, 3}, {{0, 1}, {2, 3}}, "over hosts");
            at::Tensor x = at::ones({1000});
            if (world.rank() == 2) std::this_thread::sleep_for(std::chrono::milliseconds(2000));
            try {
              group->all_reduce(x, ReduceOp::kSum, "x")->wait();
            } catch (const Error& e) {
              EXPECT_THAT(e.what(), testing::HasSubstr("rank 2 (host "));
              named += 1;
              throw;
            }
          },
          options),
      Error);
  EXPECT_EQ(named, 4);
}

TEST(IsHierarchy, HostsOfOneSize) {
  EXPECT_TRUE(is_hierarchy({{0, 1}, {2, 3}}));
  EXPECT_FALSE(is_hierarchy({{0, 1, 2, 3}}));
  EXPECT_FALSE(is_hierarchy({{0}, {1}}));
  EXPECT_FALSE(is_hierarchy({{0, 1}, {2}}));
}

}  // namespace
}  // namespace trireme::comm
