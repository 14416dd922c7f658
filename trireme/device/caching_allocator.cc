#include "trireme/device/caching_allocator.h"

#include <c10/core/CPUAllocator.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "trireme/base/error.h"

namespace trireme::device {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kHugeBytes = size_t{2} << 20;

thread_local MemoryCategory current_category = MemoryCategory::kActivations;

std::atomic<CachingAllocator*> installed = nullptr;

// Stands right before every block's data.
struct alignas(kAlignment) Header {
  CachingAllocator* owner;
  void* base;          // what the system gave
  size_t block_bytes;  // for data
  size_t asked_bytes;
  MemoryCategory category;
};
static_assert(sizeof(Header) == kAlignment);

Header* header_of(void* data) {
  return reinterpret_cast<Header*>(static_cast<char*>(data) - sizeof(Header));
}

}  // namespace

size_t size_class_bytes(size_t bytes) {
  bytes = std::max(bytes, kAlignment);
  const size_t power = std::bit_floor(bytes);
  const size_t step = std::max(power / 8, kAlignment);
  return (bytes + step - 1) / step * step;
}

struct CachingAllocator::State {
  mutable std::mutex mutex;
  std::map<size_t, std::vector<Header*>> free;  // by block size
  MemoryStats stats;

  Header* take(size_t class_bytes) {
    for (auto it = free.lower_bound(class_bytes); it != free.end() && it->first / 2 <= class_bytes;
         ++it) {
      if (it->second.empty()) continue;
      Header* header = it->second.back();
      it->second.pop_back();
      stats.cached_bytes -= static_cast<int64_t>(header->block_bytes);
      return header;
    }
    return nullptr;
  }
  void count(const Header& header, int64_t sign) {
    count(header.category, sign * static_cast<int64_t>(header.asked_bytes));
  }
  void count(MemoryCategory category, int64_t bytes) {
    for (MemoryCount* count : {&stats.by_category[static_cast<size_t>(category)], &stats.total}) {
      count->bytes += bytes;
      count->peak_bytes = std::max(count->peak_bytes, count->bytes);
    }
  }
  void release_cached() {
    for (auto& [bytes, headers] : free) {
      for (Header* header : headers) {
        stats.cached_bytes -= static_cast<int64_t>(bytes);
        stats.system_bytes -= static_cast<int64_t>(bytes + sizeof(Header));
        std::free(header->base);
      }
      headers.clear();
    }
  }
  static void give_back(void* data) {
    if (data == nullptr) return;  // of an allocation of no bytes
    Header* header = header_of(data);
    State& state = *header->owner->state_;
    const std::lock_guard lock(state.mutex);
    state.count(*header, -1);
    state.stats.cached_bytes += static_cast<int64_t>(header->block_bytes);
    state.free[header->block_bytes].push_back(header);
  }
};

namespace {

// Header and data from the system. A large block begins at a huge page; its last, partial one keeps
// small pages, since a whole one would be resident for a few bytes.
Header* from_system(size_t block_bytes) {
  const bool huge = block_bytes >= kHugeBytes;
  const size_t bytes = block_bytes + sizeof(Header);
  void* base = nullptr;
  if (posix_memalign(&base, huge ? kHugeBytes : kAlignment, bytes) != 0) return nullptr;
  // Advice: no harm where it is not taken.
  if (huge) madvise(base, bytes / kHugeBytes * kHugeBytes, MADV_HUGEPAGE);
  auto* header = static_cast<Header*>(base);
  header->base = base;
  header->block_bytes = block_bytes;
  return header;
}

}  // namespace

CachingAllocator::CachingAllocator() : state_(std::make_unique<State>()) {}

CachingAllocator::~CachingAllocator() {
  trim();
}

c10::DataPtr CachingAllocator::allocate(size_t bytes) {
  const c10::Device cpu(c10::DeviceType::CPU);
  if (bytes == 0) return {nullptr, nullptr, &State::give_back, cpu};
  const size_t class_bytes = size_class_bytes(bytes);
  const std::lock_guard lock(state_->mutex);
  Header* header = state_->take(class_bytes);
  if (header == nullptr) {
    header = from_system(class_bytes);
    if (header == nullptr) {
      state_->release_cached();
      header = from_system(class_bytes);
    }
    if (header == nullptr) {
      throw run_error(
          "out of memory: ", bytes, " bytes for a tensor, with ", state_->stats.total.bytes,
          " bytes in use; take smaller micro-batches (data.micro_batch_tokens) or more ranks");
    }
    ++state_->stats.system_calls;
    state_->stats.system_bytes += static_cast<int64_t>(class_bytes + sizeof(Header));
  }
  header->owner = this;
  header->asked_bytes = bytes;
  header->category = current_category;
  state_->count(*header, 1);
  void* data = reinterpret_cast<char*>(header) + sizeof(Header);
  return {data, data, &State::give_back, cpu};
}

c10::DeleterFnPtr CachingAllocator::raw_deleter() const {
  return &State::give_back;
}

void CachingAllocator::copy_data(void* to, const void* from, size_t bytes) const {
  std::memcpy(to, from, bytes);
}

MemoryStats CachingAllocator::stats() const {
  const std::lock_guard lock(state_->mutex);
  return state_->stats;
}

void CachingAllocator::count(MemoryCategory category, int64_t bytes) {
  const std::lock_guard lock(state_->mutex);
  state_->count(category, bytes);
}

void CachingAllocator::reset_peaks() {
  const std::lock_guard lock(state_->mutex);
  for (MemoryCount& count : state_->stats.by_category) count.peak_bytes = count.bytes;
  state_->stats.total.peak_bytes = state_->stats.total.bytes;
}

void CachingAllocator::trim() {
  const std::lock_guard lock(state_->mutex);
  state_->release_cached();
}

MemoryScope::MemoryScope(MemoryCategory category) : before_(current_category) {
  current_category = category;
}

MemoryScope::~MemoryScope() {
  current_category = before_;
}

MemoryCategory current_memory_category() {
  return current_category;
}

void count_memory(MemoryCategory category, int64_t bytes) {
  if (CachingAllocator* allocator = caching_allocator()) allocator->count(category, bytes);
}

CachingAllocator& install_caching_allocator() {
  // Never destroyed: tensors may outlive static objects.
  static CachingAllocator& allocator = []() -> CachingAllocator& {
    auto* made = new CachingAllocator();
    c10::SetCPUAllocator(made, /*priority=*/100);
    installed = made;
    return *made;
  }();
  return allocator;
}

CachingAllocator* caching_allocator() {
  return installed;
}

}  // namespace trireme::device
