#include "trireme/device/caching_allocator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <thread>

#include "trireme/base/error.h"

namespace trireme::device {
namespace {

TEST(SizeClasses, CoverAndWasteLittle) {
  size_t before = 0;
  for (size_t bytes = 1; bytes < (size_t{1} << 26); bytes += 1 + bytes / 97) {
    const size_t got = size_class_bytes(bytes);
    ASSERT_GE(got, bytes);
    ASSERT_GE(got, before);
    ASSERT_EQ(got % 64, 0u);
    ASSERT_EQ(size_class_bytes(got), got);
    if (bytes >= 512) {
      ASSERT_LT(static_cast<double>(got - bytes), 0.126 * static_cast<double>(bytes));
    }
    before = got;
  }
}

TEST(CachingAllocator, ReusesAlignsAndCounts) {
  CachingAllocator memory;
  void* first = nullptr;
  {
    const c10::DataPtr a = memory.allocate(1000);
    first = a.get();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % 64, 0u);
    EXPECT_EQ(memory.stats().total.bytes, 1000);
    const c10::DataPtr big = memory.allocate(5 << 20);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(big.get()) % 64, 0u);
  }
  EXPECT_EQ(memory.stats().total.bytes, 0);
  EXPECT_EQ(memory.stats().total.peak_bytes, 1000 + (5 << 20));
  EXPECT_GE(memory.stats().cached_bytes, 1000 + (5 << 20));
  {
    const c10::DataPtr again = memory.allocate(990);  // the same class
    EXPECT_EQ(again.get(), first);
    EXPECT_EQ(memory.stats().system_calls, 2);
  }
  memory.trim();
  EXPECT_EQ(memory.stats().cached_bytes, 0);
  EXPECT_EQ(memory.stats().system_bytes, 0);
  EXPECT_EQ(memory.allocate(0).get(), nullptr);
  memory.raw_deallocate(memory.raw_allocate(0));  // as oneDNN does it
}

TEST(CachingAllocator, CountsByCategory) {
  CachingAllocator memory;
  const c10::DataPtr a = memory.allocate(100);
  {
    MemoryScope parameters(MemoryCategory::kParameters);
    const c10::DataPtr b = memory.allocate(200);
    {
      MemoryScope optimizer(MemoryCategory::kOptimizer);
      const c10::DataPtr c = memory.allocate(300);
      EXPECT_EQ(memory.stats().of(MemoryCategory::kOptimizer).bytes, 300);
    }
    EXPECT_EQ(memory.stats().of(MemoryCategory::kParameters).bytes, 200);
    EXPECT_EQ(memory.stats().of(MemoryCategory::kOptimizer).bytes, 0);
    EXPECT_EQ(memory.stats().of(MemoryCategory::kOptimizer).peak_bytes, 300);
  }
  EXPECT_EQ(memory.stats().of(MemoryCategory::kActivations).bytes, 100);
  memory.reset_peaks();
  EXPECT_EQ(memory.stats().total.peak_bytes, 100);
}

TEST(CachingAllocator, ThreadsMayFreeEachOthersMemory) {
  CachingAllocator memory;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&memory, i] {
      for (int round = 0; round < 500; ++round) {
        c10::DataPtr x = memory.allocate(static_cast<size_t>(64 * (1 + (round * 7 + i) % 40)));
        static_cast<char*>(x.get())[0] = 1;
        if (round % 10 == 0)
          std::thread([moved = std::move(x)]() mutable { moved.clear(); }).join();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(memory.stats().total.bytes, 0);
}

TEST(CachingAllocator, TooMuchIsAnErrorThatNamesTheSize) {
  CachingAllocator memory;
  try {
    (void)memory.allocate(size_t{1} << 60);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kRun);
    EXPECT_NE(std::string(e.what()).find("1152921504606846976"), std::string::npos);
  }
}

TEST(CachingAllocator, ServesEveryTensorOnceInstalled) {
  CachingAllocator& memory = install_caching_allocator();
  EXPECT_EQ(&install_caching_allocator(), &memory);
  const int64_t before = memory.stats().total.bytes;
  at::Tensor x = at::ones({1000});
  EXPECT_EQ(memory.stats().total.bytes - before, 4000);
  x.resize_({2000});
  EXPECT_EQ(memory.stats().total.bytes - before, 8000);
  x = at::Tensor();
  EXPECT_EQ(memory.stats().total.bytes, before);
}

}  // namespace
}  // namespace trireme::device
