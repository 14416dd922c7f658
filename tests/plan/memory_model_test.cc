// The models of the allocators beside the allocators themselves.
#include "trireme/plan/memory_model.h"

#include <gtest/gtest.h>

#include "trireme/base/random.h"
#include "trireme/comm/shm_arena.h"
#include "trireme/comm/testing.h"
#include "trireme/device/caching_allocator.h"

namespace trireme::plan {
namespace {

// A number below n: the i-th of a row.
uint64_t draw(uint64_t i, uint64_t n) {
  return splitmix64(i) % n;
}

TEST(HeapModel, TakesWhatTheCachingAllocatorTakes) {
  device::CachingAllocator real;
  HeapModel model;
  std::vector<c10::DataPtr> held;
  std::vector<Block> played;
  for (uint64_t i = 0; i < 3000; ++i) {
    if (!held.empty() && draw(4 * i, 100) < 48) {
      const auto at = static_cast<ptrdiff_t>(draw(4 * i + 1, held.size()));
      held.erase(held.begin() + at);
      played.erase(played.begin() + at);
    } else {
      // From some bytes to 8 MiB, in all orders of magnitude.
      const uint64_t bytes = 1 + draw(4 * i + 2, uint64_t{1} << (4 + draw(4 * i + 3, 20)));
      held.push_back(real.allocate(bytes));
      played.push_back(model.take(static_cast<int64_t>(bytes)));
    }
    const device::MemoryStats stats = real.stats();
    ASSERT_EQ(model.bytes(), stats.total.bytes) << i;
    ASSERT_EQ(model.peak_bytes(), stats.total.peak_bytes) << i;
    ASSERT_EQ(model.system_bytes(), stats.system_bytes) << i;
    ASSERT_LE(model.resident_bytes(), model.system_bytes() + 4096 * stats.system_calls) << i;
  }
  EXPECT_GT(model.system_bytes(), model.bytes());  // the cache was at work
}

TEST(HeapModel, OnlyWrittenPagesAreResident) {
  HeapModel model;
  { const Block large = model.take(int64_t{6} << 20); }
  EXPECT_EQ(model.resident_bytes(), (int64_t{6} << 20) + 4096);  // the header's page behind
  HeapModel small;
  { const Block x = small.take(8100); }  // a block of 8192
  EXPECT_EQ(small.system_bytes(), 8192 + 64);
  EXPECT_EQ(small.resident_bytes(), 8192);
}

TEST(ArenaModel, GrowsAsTheArenaDoes) {
  comm::run_ranks(2, [](comm::World& world) {
    comm::Group& group = world.world_group();
    const int64_t before = world.shared_bytes();
    ArenaModel model;
    std::vector<at::Tensor> held;
    std::vector<Block> played;
    // What the group holds already leaves a hole of unknown size: large blocks go past it.
    for (uint64_t i = 0; i < 300; ++i) {
      if (!held.empty() && draw(3 * i, 100) < 45) {
        const auto at = static_cast<ptrdiff_t>(draw(3 * i + 1, held.size()));
        held.erase(held.begin() + at);
        played.erase(played.begin() + at);
      } else {
        const auto bytes = static_cast<int64_t>((2 << 20) + draw(3 * i + 2, 6 << 20)) / 4 * 4;
        held.push_back(group.empty(bytes / 4, at::kFloat));
        played.push_back(model.take(bytes));
      }
      ASSERT_EQ(model.system_bytes(), world.shared_bytes() - before) << i;
    }
    group.barrier("end");
  });
}

}  // namespace
}  // namespace trireme::plan
