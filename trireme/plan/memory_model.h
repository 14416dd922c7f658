// What the caching allocator (device/caching_allocator.h) and the shared arena (comm/shm_arena.h)
// take from the system for a run of allocations, without any memory: their policies over sizes
// alone. tests/plan holds them to the real ones.
//
//   HeapModel heap;
//   { Block x = heap.take(1 << 20); }
//   heap.resident_bytes();            // 1 MiB and its header: kept for reuse
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace trireme::plan {

// Memory that is held; it goes with the last copy. Models outlive their blocks.
using Block = std::shared_ptr<const void>;

class HeapModel {
 public:
  HeapModel() = default;
  HeapModel(const HeapModel&) = delete;
  HeapModel& operator=(const HeapModel&) = delete;

  Block take(int64_t bytes);

  int64_t bytes() const { return bytes_; }            // in use, as asked for
  int64_t peak_bytes() const { return peak_bytes_; }  // most at once since reset_peak()
  void reset_peak() { peak_bytes_ = bytes_; }
  int64_t system_bytes() const { return system_bytes_; }      // held from the system
  int64_t resident_bytes() const { return resident_bytes_; }  // of those, pages that were written

 private:
  struct Held {
    int64_t block_bytes;
    int64_t resident_bytes;
  };
  void give_back(int64_t asked, Held held);

  std::multimap<int64_t, Held> free_;  // by block size; the last freed of a size is taken first
  int64_t bytes_ = 0, peak_bytes_ = 0, system_bytes_ = 0, resident_bytes_ = 0;
};

class ArenaModel {
 public:
  ArenaModel() = default;
  ArenaModel(const ArenaModel&) = delete;
  ArenaModel& operator=(const ArenaModel&) = delete;

  Block take(int64_t bytes);

  int64_t bytes() const { return bytes_; }
  int64_t system_bytes() const { return system_bytes_; }  // of all segments

 private:
  using Holes = std::map<int64_t, int64_t>;  // offset to size
  void give_back(size_t segment, int64_t offset, int64_t bytes);

  std::vector<Holes> segments_;
  int64_t bytes_ = 0, system_bytes_ = 0;
};

}  // namespace trireme::plan
