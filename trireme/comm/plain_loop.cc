#include "trireme/comm/plain_loop.h"

#include <ATen/ATen.h>

#include <new>

#include "trireme/comm/group.h"
#include "trireme/comm/shm_group.h"
#include "trireme/comm/shm_protocol.h"

namespace trireme::comm {
namespace {

constexpr int64_t kHead = sizeof(shm::Counter) / sizeof(float);

// The common case by itself, so that the compiler sees two arrays.
void add_two(float* a, float* b, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float sum = a[i] + b[i];
    a[i] = sum;
    b[i] = sum;
  }
}

void add_all(const std::vector<float*>& pools, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    float sum = 0;
    for (const float* pool : pools) sum += pool[i];
    for (float* pool : pools) pool[i] = sum;
  }
}

}  // namespace

PlainLoop::PlainLoop(ShmHost& host, Group& group, int64_t pool_numel) : rank_(group.rank()) {
  memory_ = group.empty(kHead + pool_numel, at::kFloat);
  new (memory_.data_ptr()) shm::Counter{};
  for (std::byte* memory : reach(host, group, memory_)) {
    counters_.push_back(reinterpret_cast<shm::Counter*>(memory));
    pools_.push_back(reinterpret_cast<float*>(memory) + kHead);
  }
}

void PlainLoop::meet() {
  ++meetings_;
  counters_[static_cast<size_t>(rank_)]->value.store(meetings_, std::memory_order_release);
  for (const shm::Counter* counter : counters_) {
    while (counter->value.load(std::memory_order_acquire) < meetings_) {
    }
  }
}

void PlainLoop::all_reduce(int64_t offset, int64_t n) {
  const auto ranks = static_cast<int64_t>(pools_.size());
  const auto [begin, end] = shm::slice(n, ranks, rank_, 16);
  meet();
  if (ranks == 2) {
    add_two(pools_[0] + offset + begin, pools_[1] + offset + begin, end - begin);
  } else {
    add_all(pools_, offset + begin, offset + end);
  }
  meet();
}

}  // namespace trireme::comm
