// The CPU allocator behind every tensor: keeps freed memory for reuse instead of giving it back to
// the system layer by layer (glibc faults large tensors in again and again), and counts bytes
// exactly, by category.
//
//   device::CachingAllocator& memory = device::install_caching_allocator();  // before any tensor
//   {
//     device::MemoryScope scope(device::MemoryCategory::kOptimizer);
//     moments = at::zeros(...);
//   }
//   memory.stats().of(device::MemoryCategory::kOptimizer).bytes
#pragma once

#include <c10/core/Allocator.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace trireme::device {

enum class MemoryCategory : uint8_t { kActivations, kParameters, kGradients, kOptimizer };
inline constexpr size_t kMemoryCategories = 4;

struct MemoryCount {
  int64_t bytes = 0;       // in use now, as asked for
  int64_t peak_bytes = 0;  // most at once since reset_peaks()
};

struct MemoryStats {
  std::array<MemoryCount, kMemoryCategories> by_category;
  MemoryCount total;
  int64_t cached_bytes = 0;  // free, kept for reuse
  int64_t system_bytes = 0;  // held from the system: in use and cached, in whole blocks
  int64_t system_calls = 0;  // allocations that the cache could not serve
  const MemoryCount& of(MemoryCategory category) const {
    return by_category[static_cast<size_t>(category)];
  }
};

class CachingAllocator final : public c10::Allocator {
 public:
  CachingAllocator();
  ~CachingAllocator() override;

  // 64-byte aligned; blocks of 2 MiB and more ask for huge pages. The smallest cached block that
  // serves is taken, up to twice the size: batches differ in length, and a cache by exact size
  // would hold a set of blocks for every length. Counted under the calling thread's MemoryScope.
  // Throws run_error with the size when the system has no more, after giving back the cache.
  c10::DataPtr allocate(size_t bytes) override;
  c10::DeleterFnPtr raw_deleter() const override;
  void copy_data(void* to, const void* from, size_t bytes) const override;

  MemoryStats stats() const;
  // Memory that tensors have from elsewhere (shared with other ranks); negative when it goes.
  void count(MemoryCategory category, int64_t bytes);
  void reset_peaks();
  // Gives cached memory back to the system.
  void trim();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The bytes of a new block for a request: 64 times a power of two with eight steps between powers
// (waste under 12.5 %).
size_t size_class_bytes(size_t bytes);

// Allocations of this thread count under `category` while the scope lives.
class MemoryScope {
 public:
  explicit MemoryScope(MemoryCategory category);
  ~MemoryScope();
  MemoryScope(const MemoryScope&) = delete;
  MemoryScope& operator=(const MemoryScope&) = delete;

 private:
  MemoryCategory before_;
};

// What allocations of this thread count under.
MemoryCategory current_memory_category();

// Makes one for the whole process and hands it to c10 (idempotent). Tensors made earlier keep their
// memory.
CachingAllocator& install_caching_allocator();
// The one that was installed; null: none was.
CachingAllocator* caching_allocator();
// CachingAllocator::count() of the one that was installed, if any.
void count_memory(MemoryCategory category, int64_t bytes);

}  // namespace trireme::device
