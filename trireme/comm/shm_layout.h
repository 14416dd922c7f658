// What lies in shared memory: each rank's block of a group, written by that rank alone and read by
// its peers, and its bell.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace trireme::comm::shm {

inline constexpr int kPosts = 2;
inline constexpr int kMessages = 8;  // under way from one rank to another
inline constexpr size_t kStageBytes = 512 << 10;

static_assert(std::atomic<uint64_t>::is_always_lock_free);

struct alignas(64) Counter {
  std::atomic<uint64_t> value;
};

// What a rank is about to do. Plain data: published by the counter behind it.
struct alignas(64) Post {
  uint64_t seq;
  uint64_t bytes;
  uint64_t offset;
  uint32_t segment;
  int32_t kind, dtype, op, root;
  int32_t in_arena;
};

// To one peer, from the owner of the block.
struct Mailbox {
  Counter sent;
  Post posts[kMessages];
};

// Followed by a Mailbox a rank, a Counter a rank (messages taken from it), and two staging halves.
struct Block {
  Counter progress;
  Post posts[kPosts];

  static size_t bytes(int ranks) {
    return sizeof(Block) + static_cast<size_t>(ranks) * (sizeof(Mailbox) + sizeof(Counter)) +
           2 * kStageBytes;
  }
  Mailbox& mailbox(int to) { return reinterpret_cast<Mailbox*>(this + 1)[to]; }
  Counter& taken(int ranks, int from) { return reinterpret_cast<Counter*>(&mailbox(ranks))[from]; }
  std::byte* stage(int ranks, uint64_t half) {
    return reinterpret_cast<std::byte*>(&taken(ranks, ranks)) + (half % 2) * kStageBytes;
  }
};

// Wakes a rank that sleeps until a peer has done something. One a rank, at the start of its arena.
struct alignas(64) Bell {
  std::atomic<uint32_t> rings;  // a futex
  std::atomic<uint32_t> sleeps;
};

}  // namespace trireme::comm::shm
