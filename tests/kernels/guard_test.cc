// All tensors of this test program are followed by guard bytes: a kernel that writes behind its
// memory fails the run.
#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

namespace {

constexpr size_t kGuard = 64;
constexpr unsigned char kByte = 0xA5;
std::atomic<int> overruns{0};

// The size stands before the data, the guard behind it.
class GuardedAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    auto* base = static_cast<unsigned char*>(
        std::aligned_alloc(kGuard, (bytes + 3 * kGuard - 1) / kGuard * kGuard));
    std::memcpy(base, &bytes, sizeof(bytes));
    std::memset(base + kGuard + bytes, kByte, kGuard);
    void* data = base + kGuard;
    return {data, data, &give_back, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }

 private:
  static void give_back(void* data) {
    if (data == nullptr) return;
    unsigned char* base = static_cast<unsigned char*>(data) - kGuard;
    size_t bytes = 0;
    std::memcpy(&bytes, base, sizeof(bytes));
    for (size_t i = 0; i < kGuard; ++i) {
      if (base[kGuard + bytes + i] != kByte) {
        ++overruns;
        break;
      }
    }
    std::free(base);
  }
};

class Guard : public ::testing::Environment {
 public:
  void SetUp() override {
    static GuardedAllocator allocator;
    c10::SetCPUAllocator(&allocator, /*priority=*/100);
  }
  void TearDown() override { EXPECT_EQ(overruns.load(), 0) << "tensors were written behind"; }
};

[[maybe_unused]] auto* const guard = ::testing::AddGlobalTestEnvironment(new Guard);

}  // namespace
