#include "trireme/comm/shm_arena.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "trireme/base/error.h"
#include "trireme/device/caching_allocator.h"

namespace trireme::comm {
namespace {

constexpr size_t kLine = 64;
constexpr size_t kPage = 4096;
constexpr size_t kLarge = 64 << 10;  // from here on whole pages
constexpr size_t kSegmentUnit = 2 << 20;

size_t round_up(size_t n, size_t unit) {
  return (n + unit - 1) / unit * unit;
}

}  // namespace

ShmArena::ShmArena(int rank, LocalPeers peers) : rank_(rank), peers_(std::move(peers)) {}

std::byte* ShmArena::allocate(size_t bytes, bool pages) {
  const std::lock_guard lock(mutex_);
  const size_t unit = pages || bytes >= kLarge ? kPage : kLine;
  bytes = round_up(std::max<size_t>(bytes, 1), unit);
  // The smallest hole that holds it. Holes begin at a line.
  Segment* best = nullptr;
  std::pair<size_t, size_t> hole{0, SIZE_MAX};
  const auto usable = [&](const std::pair<const size_t, size_t>& h) {
    return h.first + h.second >= round_up(h.first, unit) + bytes;
  };
  for (Segment& segment : segments_) {
    for (const auto& h : segment.free) {
      if (h.second < hole.second && usable(h)) {
        best = &segment;
        hole = h;
      }
    }
  }
  if (best == nullptr) {
    best = &grow(bytes);
    hole = *best->free.begin();
  }
  return take(*best, round_up(hole.first, unit), bytes);
}

std::byte* ShmArena::take(Segment& segment, size_t offset, size_t bytes) {
  const auto hole = std::prev(segment.free.upper_bound(offset));
  const auto [begin, size] = *hole;
  segment.free.erase(hole);
  if (offset > begin) segment.free[begin] = offset - begin;
  if (begin + size > offset + bytes) segment.free[offset + bytes] = begin + size - offset - bytes;
  std::byte* data = segment.memory->data() + offset;
  taken_[data] = {static_cast<size_t>(&segment - segments_.data()), bytes};
  return data;
}

void ShmArena::release(std::byte* data) {
  const std::lock_guard lock(mutex_);
  const auto found = taken_.find(data);
  Segment& segment = segments_[found->second.first];
  auto offset = static_cast<size_t>(data - segment.memory->data());
  size_t bytes = found->second.second;
  taken_.erase(found);
  auto next = segment.free.lower_bound(offset);
  if (next != segment.free.end() && next->first == offset + bytes) {
    bytes += next->second;
    next = segment.free.erase(next);
  }
  if (next != segment.free.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == offset) {
      before->second += bytes;
      return;
    }
  }
  segment.free[offset] = bytes;
}

ShmArena::Segment& ShmArena::grow(size_t bytes) {
  const size_t size = round_up(bytes, kSegmentUnit);
  auto memory = ShmSegment::create(size);
  // Peers hear of it before they can be told of a place in it.
  for (const int r : peers_.here()) {
    if (r != rank_) peers_.send(r, segments_.size(), size, memory->fd());
  }
  return segments_.emplace_back(Segment{std::move(memory), {{0, size}}});
}

at::Tensor ShmArena::empty(int64_t numel, at::ScalarType dtype) {
  if (numel == 0) return at::empty({0}, dtype);
  return tensor_of(allocate(static_cast<size_t>(numel) * c10::elementSize(dtype)), numel, dtype);
}

at::Tensor ShmArena::empty_pages(int64_t numel, at::ScalarType dtype) {
  return tensor_of(allocate(static_cast<size_t>(numel) * c10::elementSize(dtype), /*pages=*/true),
                   numel, dtype);
}

at::Tensor ShmArena::tensor_of(std::byte* data, int64_t numel, at::ScalarType dtype) {
  const auto bytes = static_cast<int64_t>(numel * static_cast<int64_t>(c10::elementSize(dtype)));
  const device::MemoryCategory category = device::current_memory_category();
  device::count_memory(category, bytes);
  return at::from_blob(
      data, {numel},
      [arena = shared_from_this(), category, bytes](void* p) {
        device::count_memory(category, -bytes);
        arena->release(static_cast<std::byte*>(p));
      },
      dtype);
}

std::optional<ShmPlace> ShmArena::locate(const void* data) const {
  const std::lock_guard lock(mutex_);
  const auto* p = static_cast<const std::byte*>(data);
  for (size_t s = 0; s < segments_.size(); ++s) {
    const ShmSegment& memory = *segments_[s].memory;
    if (p >= memory.data() && p < memory.data() + memory.size()) {
      return ShmPlace{static_cast<uint32_t>(s), static_cast<uint64_t>(p - memory.data())};
    }
  }
  return std::nullopt;
}

const std::shared_ptr<ShmSegment>& ShmArena::peer_segment(int rank, uint32_t number) {
  auto& known = theirs_[rank];
  while (number >= known.size()) {
    auto file = peers_.receive(rank);
    if (!file || file->number != known.size()) {
      throw run_error("rank ", rank, " speaks of shared memory (segment ", number,
                      ") that it has not passed on");
    }
    known.push_back(ShmSegment::open(std::move(file->fd), file->bytes));
  }
  return known[number];
}

std::byte* ShmArena::peer(int rank, ShmPlace place) {
  const std::lock_guard lock(mutex_);
  if (rank == rank_) return segments_.at(place.segment).memory->data() + place.offset;
  const auto& segment = peer_segment(rank, place.segment);
  if (place.offset >= segment->size()) {
    throw run_error("rank ", rank, " speaks of a place behind the end of its shared memory");
  }
  return segment->data() + place.offset;
}

std::shared_ptr<std::byte> ShmArena::join(const std::vector<std::pair<int, ShmPlace>>& places,
                                          size_t bytes) {
  const std::lock_guard lock(mutex_);
  std::vector<ShmSegment::Piece> pieces;
  for (const auto& [rank, place] : places) {
    const auto& segment =
        rank == rank_ ? segments_.at(place.segment).memory : peer_segment(rank, place.segment);
    pieces.push_back({segment, place.offset});
  }
  return ShmSegment::join(pieces, bytes);
}

uint64_t ShmArena::bytes() const {
  const std::lock_guard lock(mutex_);
  uint64_t sum = 0;
  for (const Segment& segment : segments_) sum += segment.memory->size();
  return sum;
}

}  // namespace trireme::comm
