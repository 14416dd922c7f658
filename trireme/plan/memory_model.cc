#include "trireme/plan/memory_model.h"

#include <algorithm>
#include <limits>

#include "trireme/device/caching_allocator.h"

namespace trireme::plan {
namespace {

constexpr int64_t kHeader = 64, kPage = 4096, kHuge = int64_t{2} << 20;
constexpr int64_t kLine = 64, kLarge = 64 << 10, kSegmentUnit = int64_t{2} << 20;

int64_t round_up(int64_t n, int64_t unit) {
  return (n + unit - 1) / unit * unit;
}

// Pages of a block that writing its first `bytes` touches: huge ones where the block has them.
int64_t touched(int64_t block_bytes, int64_t bytes) {
  const int64_t whole = block_bytes + kHeader;
  const int64_t small = std::min(round_up(bytes + kHeader, kPage), round_up(whole, kPage));
  if (block_bytes < kHuge) return small;
  const int64_t huge_end = whole / kHuge * kHuge;
  return small <= huge_end ? std::min(round_up(small, kHuge), huge_end) : small;
}

}  // namespace

Block HeapModel::take(int64_t bytes) {
  if (bytes <= 0) return nullptr;
  const auto block = static_cast<int64_t>(device::size_class_bytes(static_cast<size_t>(bytes)));
  auto found = free_.lower_bound(block);
  Held held{block, 0};
  if (found != free_.end() && found->first / 2 <= block) {
    // Equal keys stand in the order in which they came.
    found = std::prev(free_.upper_bound(found->first));
    held = found->second;
    free_.erase(found);
  } else {
    system_bytes_ += block + kHeader;
  }
  const int64_t now = std::max(held.resident_bytes, touched(held.block_bytes, bytes));
  resident_bytes_ += now - held.resident_bytes;
  held.resident_bytes = now;
  bytes_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, bytes_);
  return {&free_, [this, bytes, held](const void*) { give_back(bytes, held); }};
}

void HeapModel::give_back(int64_t asked, Held held) {
  bytes_ -= asked;
  free_.emplace(held.block_bytes, held);
}

Block ArenaModel::take(int64_t bytes) {
  if (bytes <= 0) return nullptr;
  const int64_t size = round_up(bytes, bytes >= kLarge ? kPage : kLine);
  const auto begin_in = [size](int64_t offset) {
    return size >= kLarge ? round_up(offset, kPage) : offset;
  };
  // The smallest hole that holds it.
  size_t segment = segments_.size();
  std::pair<int64_t, int64_t> hole{0, std::numeric_limits<int64_t>::max()};
  for (size_t s = 0; s < segments_.size(); ++s) {
    for (const auto& [offset, free] : segments_[s]) {
      if (free < hole.second && offset + free >= begin_in(offset) + size) {
        segment = s;
        hole = {offset, free};
      }
    }
  }
  if (segment == segments_.size()) {
    hole = {0, round_up(size, kSegmentUnit)};
    segments_.push_back({{0, hole.second}});
    system_bytes_ += hole.second;
  }
  const int64_t offset = begin_in(hole.first);
  Holes& holes = segments_[segment];
  holes.erase(hole.first);
  if (offset > hole.first) holes[hole.first] = offset - hole.first;
  const int64_t left = hole.first + hole.second - offset - size;
  if (left > 0) holes[offset + size] = left;
  bytes_ += bytes;
  return {&segments_, [this, segment, offset, size, bytes](const void*) {
            bytes_ -= bytes;
            give_back(segment, offset, size);
          }};
}

void ArenaModel::give_back(size_t segment, int64_t offset, int64_t bytes) {
  Holes& holes = segments_[segment];
  auto next = holes.lower_bound(offset);
  if (next != holes.end() && next->first == offset + bytes) {
    bytes += next->second;
    next = holes.erase(next);
  }
  if (next != holes.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == offset) {
      before->second += bytes;
      return;
    }
  }
  holes[offset] = bytes;
}

}  // namespace trireme::plan
