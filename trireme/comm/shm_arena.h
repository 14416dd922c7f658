// A rank's part of the memory that the ranks of a host share. Buffers that travel are allocated
// here, so that a collective reads and writes the peers' memory in place. It grows by segments,
// which are all there when they begin (ShmSegment) and are kept until the end.
//
//   at::Tensor bucket = arena->empty(n, at::kFloat);
//   auto place = arena->locate(bucket.data_ptr());        // what this rank tells its peers
//   std::byte* theirs = arena->peer(rank, their_place);   // what it is told
//
// Thread-safe.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "trireme/comm/local_peers.h"
#include "trireme/comm/shm_segment.h"

namespace trireme::comm {

// Where something lies in its owner's arena.
struct ShmPlace {
  uint32_t segment = 0;
  uint64_t offset = 0;
};

class ShmArena : public std::enable_shared_from_this<ShmArena> {
 public:
  ShmArena(int rank, LocalPeers peers);

  const LocalPeers& peers() const { return peers_; }

  // 64-byte aligned (large ones, and those of whole pages: a page), not initialised. Throws
  // run_error when there is no memory.
  std::byte* allocate(size_t bytes, bool pages = false);
  void release(std::byte* data);
  // A flat tensor, counted under the calling thread's device::MemoryScope. Keeps the arena alive.
  at::Tensor empty(int64_t numel, at::ScalarType dtype);

  // The same of whole pages: for join().
  at::Tensor empty_pages(int64_t numel, at::ScalarType dtype);
  // The memory at these places of ranks of this host, `bytes` (whole pages) each, end to end in one
  // mapping that reads and writes them where they are.
  std::shared_ptr<std::byte> join(const std::vector<std::pair<int, ShmPlace>>& places,
                                  size_t bytes);

  // Nothing when `data` is not in this rank's arena.
  std::optional<ShmPlace> locate(const void* data) const;
  // A place of another rank of this host. Throws run_error when that rank has told of no such
  // segment.
  std::byte* peer(int rank, ShmPlace place);

  // Bytes of all its segments.
  uint64_t bytes() const;

 private:
  struct Segment {
    std::shared_ptr<ShmSegment> memory;
    std::map<size_t, size_t> free;  // offset to size; neighbours are always joined
  };
  at::Tensor tensor_of(std::byte* data, int64_t numel, at::ScalarType dtype);
  std::byte* take(Segment& segment, size_t offset, size_t bytes);
  Segment& grow(size_t bytes);
  const std::shared_ptr<ShmSegment>& peer_segment(int rank, uint32_t number);

  const int rank_;
  LocalPeers peers_;
  mutable std::mutex mutex_;
  std::vector<Segment> segments_;
  std::unordered_map<std::byte*, std::pair<size_t, size_t>> taken_;  // to segment, size
  std::map<int, std::vector<std::shared_ptr<ShmSegment>>> theirs_;
};

}  // namespace trireme::comm
