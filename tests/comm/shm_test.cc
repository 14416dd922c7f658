// What shared memory has beside the operations' values (group_test.cc): the arena, in-place
// operations, sizes around every form's limit, and mixtures.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "trireme/base/error.h"
#include "trireme/base/random.h"
#include "trireme/comm/local_peers.h"
#include "trireme/comm/shm_arena.h"
#include "trireme/comm/shm_group.h"
#include "trireme/comm/shm_layout.h"
#include "trireme/comm/testing.h"
#include "trireme/device/caching_allocator.h"

namespace trireme::comm {
namespace {

WorldOptions shm_options() {
  WorldOptions options;
  options.backend = "shm";
  return options;
}

at::Tensor shared(World& world, const at::Tensor& values) {
  at::Tensor x = world.world_group().empty(values.numel(), values.scalar_type());
  x.copy_(values.reshape({-1}));
  return x;
}

// Different on every rank, the same on all for a given one.
at::Tensor noise(int rank, int64_t n, int64_t seed) {
  at::Generator generator = at::detail::createCPUGenerator(seed * 100 + rank);
  return at::randn({n}, generator, at::kFloat);
}

at::Tensor rank_order_sum(int ranks, int64_t n, int64_t seed) {
  at::Tensor sum = noise(0, n, seed);
  for (int r = 1; r < ranks; ++r) sum += noise(r, n, seed);
  return sum;
}

class Shm : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Ranks, Shm, testing::Values(2, 3, 4));

// Every rank owns a part and reads the whole where it is.
TEST_P(Shm, JoinedMemoryIsOnePieceOfEverybodysParts) {
  run_ranks(
      GetParam(),
      [](World& world) {
        Group& group = world.world_group();
        EXPECT_TRUE(group.joins());
        const int64_t n = 3 * kJoinedBytes / 4;
        const at::Tensor small = group.empty(5, at::kFloat);  // what lies before is no page
        std::vector<Group::Joined> kept;
        for (int again = 0; again < 2; ++again) {
          kept.push_back(group.join(n, at::kFloat).value());
          const Group::Joined& joined = kept.back();
          ASSERT_EQ(joined.own.numel(), n);
          ASSERT_EQ(joined.whole.numel(), world.size() * n);
          EXPECT_EQ(joined.own.abs().sum().item<float>(), 0);
          joined.own.copy_(noise(world.rank(), n, again));
          group.barrier("written");
          for (int r = 0; r < world.size(); ++r) {
            EXPECT_TRUE(joined.whole.narrow(0, r * n, n).equal(noise(r, n, again)));
          }
          group.barrier("read");
          joined.whole.narrow(0, world.rank() * n, n).fill_(7);  // another way to one's own part
          EXPECT_TRUE(joined.own.eq(7).all().item<bool>());
          group.all_reduce(joined.own, ReduceOp::kSum, "in place")->wait();
          EXPECT_TRUE(joined.whole.eq(7 * world.size()).all().item<bool>());
          group.barrier("read again");
        }
        EXPECT_THROW(group.join(kJoinedBytes / 4 + 1, at::kFloat), Error);
        EXPECT_THROW(group.join(0, at::kFloat), Error);
      },
      shm_options());
}

TEST(Gloo, HasNoMemoryToJoin) {
  WorldOptions options;
  options.backend = "gloo";
  run_ranks(
      2,
      [](World& world) {
        EXPECT_FALSE(world.world_group().joins());
        EXPECT_FALSE(world.world_group().join(kJoinedBytes, at::kFloat).has_value());
      },
      options);
}

TEST_P(Shm, EveryFormAddsInTheOrderOfTheRanks) {
  run_ranks(
      GetParam(),
      [](World& world) {
        const auto stage = static_cast<int64_t>(shm::kStageBytes / 4);
        for (const int64_t n : {int64_t{1}, int64_t{100}, int64_t{2048}, int64_t{2049}, stage - 1,
                                stage, stage + 1, 2 * stage + 17}) {
          const at::Tensor sum = rank_order_sum(world.size(), n, n);
          at::Tensor in_arena = shared(world, noise(world.rank(), n, n));
          at::Tensor staged = noise(world.rank(), n, n);
          // One rank's lies in the arena, the others' do not.
          at::Tensor mixed = world.rank() == 1 ? shared(world, staged) : staged.clone();
          for (at::Tensor& x : std::vector<at::Tensor>{in_arena, staged, mixed}) {
            world.world_group().all_reduce(x, ReduceOp::kSum, "x")->wait();
            EXPECT_TRUE(at::equal(x, sum)) << n;
          }
        }
      },
      shm_options());
}

TEST_P(Shm, InPlaceGatherScatterBroadcastAndExchange) {
  run_ranks(
      GetParam(),
      [](World& world) {
        const int n = world.size(), me = world.rank();
        for (const int64_t part : {int64_t{3}, int64_t{4000}, int64_t{300001}}) {
          at::Tensor all = shared(world, at::full({n * part}, -1.0));
          all.narrow(0, me * part, part).copy_(noise(me, part, part));
          world.world_group().all_gather(all, all.narrow(0, me * part, part), "gather")->wait();
          for (int r = 0; r < n; ++r) {
            EXPECT_TRUE(at::equal(all.narrow(0, r * part, part), noise(r, part, part)));
          }
          const at::Tensor whole = rank_order_sum(n, n * part, part);
          const at::Tensor in = shared(world, noise(me, n * part, part));
          at::Tensor mine = at::empty({part});
          world.world_group().reduce_scatter(mine, in, ReduceOp::kSum, "scatter")->wait();
          EXPECT_TRUE(at::equal(mine, whole.narrow(0, me * part, part)));
          at::Tensor own = in.narrow(0, me * part, part);
          world.world_group().reduce_scatter(own, in, ReduceOp::kSum, "in place")->wait();
          EXPECT_TRUE(at::equal(own, whole.narrow(0, me * part, part)));
          at::Tensor root = me == n - 1 ? shared(world, noise(me, part, 7)) : at::empty({part});
          world.world_group().broadcast(root, n - 1, "root")->wait();
          EXPECT_TRUE(at::equal(root, noise(n - 1, part, 7)));
          at::Tensor out = at::empty({n * part});
          const at::Tensor from = shared(world, noise(me, n * part, 9));
          world.world_group().all_to_all(out, from, "exchange")->wait();
          for (int r = 0; r < n; ++r) {
            EXPECT_TRUE(at::equal(out.narrow(0, r * part, part),
                                  noise(r, n * part, 9).narrow(0, me * part, part)));
          }
        }
      },
      shm_options());
}

// Rows of operations of every kind, size and place, waited for in changing orders; two groups.
TEST_P(Shm, RandomRowsOfOperations) {
  run_ranks(
      GetParam(),
      [](World& world) {
        std::vector<int> ranks(static_cast<size_t>(world.size()));
        std::iota(ranks.begin(), ranks.end(), 0);
        const auto second = world.make_group(ranks, "second");
        // The same on every rank.
        auto draw = [count = uint64_t{0}]() mutable { return random_bits(7, 0, count++); };
        struct Running {
          at::Tensor x;
          at::Tensor expected;
          WorkPtr work;
        };
        for (int round = 0; round < 60; ++round) {
          std::vector<Running> row;
          const int count = 1 + static_cast<int>(draw() % 5);
          for (int i = 0; i < count; ++i) {
            const int64_t seed = round * 10 + i;
            const int64_t n = 1 + static_cast<int64_t>(draw() % (1u << (draw() % 19)));
            const bool in_arena = draw() % 2 == 0;
            Group& group = draw() % 3 == 0 ? *second : world.world_group();
            at::Tensor x = noise(world.rank(), n, seed);
            if (in_arena) x = shared(world, x);
            const int root = static_cast<int>(draw() % static_cast<uint64_t>(world.size()));
            if (draw() % 4 == 0) {
              row.push_back({x, noise(root, n, seed), group.broadcast(x, root, "b")});
            } else {
              row.push_back({x, rank_order_sum(world.size(), n, seed),
                             group.all_reduce(x, ReduceOp::kSum, "s")});
            }
          }
          if (draw() % 2 == 0) std::reverse(row.begin(), row.end());
          for (Running& r : row) {
            r.work->wait();
            ASSERT_TRUE(at::equal(r.x, r.expected)) << "round " << round;
          }
        }
        world.world_group().barrier("end");
      },
      shm_options());
}

TEST_P(Shm, ManyMessagesBothWays) {
  run_ranks(
      GetParam(),
      [](World& world) {
        const int n = world.size(), next = (world.rank() + 1) % n,
                  before = (world.rank() + n - 1) % n;
        std::vector<WorkPtr> works;
        std::vector<at::Tensor> got;
        for (int i = 0; i < 30; ++i) {  // more than are under way at once
          const int64_t size = i % 3 == 0 ? 100000 : 5;
          at::Tensor x = at::full({size}, 100 * world.rank() + i, at::kInt);
          if (i % 2 == 0) x = shared(world, x);
          works.push_back(world.world_group().send(x, next, "m"));
          got.push_back(at::zeros({size}, at::kInt));
          works.push_back(world.world_group().recv(got.back(), before, "m"));
        }
        for (const WorkPtr& work : works) work->wait();
        for (int i = 0; i < 30; ++i) {
          EXPECT_TRUE(at::equal(got[static_cast<size_t>(i)],
                                at::full_like(got[static_cast<size_t>(i)], 100 * before + i)));
        }
        world.world_group().barrier("end");
      },
      shm_options());
}

TEST(ShmArena, BlocksAreReusedJoinedAndCounted) {
  run_ranks(
      2,
      [](World& world) {
        Group& group = world.world_group();
        const uint64_t before = arena_bytes(*world.shm());
        for (int i = 0; i < 20; ++i) {
          at::Tensor a = group.empty(1 << 20, at::kFloat), b = group.empty(1 << 20, at::kFloat);
          EXPECT_EQ(reinterpret_cast<uintptr_t>(a.data_ptr()) % 64, 0u);
          a = at::Tensor();
          const at::Tensor c = group.empty(1 << 19, at::kFloat);
        }
        // 8 MiB were in use at most.
        EXPECT_LE(arena_bytes(*world.shm()) - before, uint64_t{10} << 20);
      },
      shm_options());
}

TEST(ShmArena, TensorsOutliveTheWorldAndCountInTheirCategory) {
  device::CachingAllocator& memory = device::install_caching_allocator();
  const auto in_use = [&] { return memory.stats().of(device::MemoryCategory::kGradients).bytes; };
  const int64_t before = in_use();
  std::mutex mutex;
  std::vector<at::Tensor> kept;
  run_ranks(
      2,
      [&](World& world) {
        const device::MemoryScope scope(device::MemoryCategory::kGradients);
        const at::Tensor x = shared(world, at::full({1000}, world.rank() + 1.0));
        const std::lock_guard lock(mutex);
        kept.push_back(x);
      },
      shm_options());
  EXPECT_EQ(in_use() - before, 2 * 4000);
  EXPECT_EQ((kept[0] + kept[1]).sum().item<double>(), 3000);
  kept.clear();
  EXPECT_EQ(in_use(), before);
}

TEST(ShmSegment, WhatTheHostDoesNotHaveIsAnErrorThatNamesTheLimit) {
  try {
    ShmSegment::create(size_t{1} << 50);
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.exit_code(), 1);
    EXPECT_THAT(e.what(), testing::AllOf(testing::HasSubstr("memory"), testing::HasSubstr("leaves"),
                                         testing::HasSubstr("MiB")));
  }
}

TEST(LocalPeers, RanksOfOneProcessAreOfOneHost) {
  run_ranks(3, [](World& world) {
    EXPECT_EQ(world.hosts(), (std::vector<std::vector<int>>{{0, 1, 2}}));
    EXPECT_EQ(world.backend(), "shm");
  });
}

TEST(Shm, DifferentCallsAreAnErrorOnAllRanks) {
  std::atomic<int> found = 0;
  EXPECT_THROW(run_ranks(
                   3,
                   [&](World& world) {
                     at::Tensor x = at::ones({world.rank() == 1 ? 8 : 4});
                     try {
                       world.world_group().all_reduce(x, ReduceOp::kSum, "uneven")->wait();
                     } catch (const Error& e) {
                       EXPECT_THAT(e.what(), testing::HasSubstr("uneven"));
                       found += 1;
                       throw;
                     }
                   },
                   shm_options()),
               Error);
  EXPECT_EQ(found, 3);
}

TEST(Shm, UnknownBackendsAreRefused) {
  for (const char* backend : {"nccl", "mpi", ""}) {
    WorldOptions options;
    options.backend = backend;
    EXPECT_THROW(run_ranks(
                     2, [](World&) {}, options),
                 Error)
        << backend;
  }
}

}  // namespace
}  // namespace trireme::comm
