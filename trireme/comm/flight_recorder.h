// The flight recorder: what this rank does with its peers, always kept. The last kEntries
// operations of all groups in a ring, and for good the last one of each series (a group's
// collectives; its sends and its receives, by peer), so that a busy group cannot push out what a
// quiet one did.
//
//   const FlightRecorder::GroupId id = recorder.add_group("world", {0, 1, 2});
//   const FlightRecorder::Ticket ticket =
//       recorder.begin(id, {.kind = OperationKind::kAllReduce, .tag = "loss", .bytes = 16});
//   ...
//   recorder.end(ticket);
//
// Thread-safe. begin and end together cost about 60 ns (README.md): fixed memory, one short lock
// each, two looks at the clock; words are made only when somebody asks.
#pragma once

#include <c10/core/ScalarType.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "trireme/base/clock.h"
#include "trireme/comm/operations.h"

namespace trireme::comm {

class FlightRecorder {
 public:
  static constexpr size_t kEntries = 4096;
  static constexpr size_t kTagBytes = 51;  // longer tags are cut

  using GroupId = uint32_t;

  // An operation as its caller describes it.
  struct Call {
    OperationKind kind = OperationKind::kBarrier;
    std::string_view tag = {};
    at::ScalarType dtype = at::ScalarType::Undefined;
    int64_t bytes = 0;
    int peer = -1;  // index in the group: the other side, or a broadcast's root
  };

  struct Entry {
    int64_t begin_ns = 0;
    int64_t end_ns = 0;  // 0: not over
    uint64_t seq = 0;
    int64_t bytes = 0;
    GroupId group = 0;
    int32_t peer = -1;  // index in the group
    OperationKind kind = OperationKind::kBarrier;
    at::ScalarType dtype = at::ScalarType::Undefined;
    uint8_t tag_bytes = 0;
    std::array<char, kTagBytes> tag;
  };

  // Of an operation under way: what was recorded, and where.
  struct Ticket {
    Entry entry;
    uint64_t number = 0;  // counts all entries
    uint32_t series = 0;
  };

  explicit FlightRecorder(
      std::shared_ptr<const Clock> clock = std::make_shared<const SteadyClock>());
  FlightRecorder(const FlightRecorder&) = delete;
  FlightRecorder& operator=(const FlightRecorder&) = delete;

  // `ranks`: the members' world ranks. Sequence numbers begin at 1.
  GroupId add_group(std::string name, std::vector<int> ranks);

  Ticket begin(GroupId group, const Call& call);
  void end(const Ticket& ticket);
  // In words, as it stands now.
  Operation operation(const Ticket& ticket) const;

  // The last operation of each series that has one, in the order of the groups.
  std::vector<Operation> last() const;
  // All that the ring holds, oldest first.
  std::vector<Operation> all() const;
  // Time that threads of this rank were blocked in waits for operations: a backend adds what each
  // wait took, the trainer reads the sum.
  void add_blocked_ns(int64_t ns) { blocked_ns_.fetch_add(ns, std::memory_order_relaxed); }
  double blocked_s() const { return 1e-9 * static_cast<double>(blocked_ns_.load()); }
  const Clock& clock() const { return *clock_; }

 private:
  struct Group {
    std::string name;
    std::vector<int> ranks;
    uint32_t series = 0;  // in last_: of its collectives; then of sends by peer, then of receives
  };
  static uint32_t series_of(const Group& group, OperationKind kind, int peer);
  Operation in_words(const Entry& entry, int64_t now_ns) const;

  const std::shared_ptr<const Clock> clock_;
  mutable std::mutex mutex_;
  std::vector<Group> groups_;
  std::vector<Entry> last_;  // by series; seq 0: none yet
  std::vector<Entry> ring_;
  uint64_t count_ = 0;
  std::atomic<int64_t> blocked_ns_ = 0;
};

// Adds the time from its making to its end to the blocked time.
class BlockedTime {
 public:
  explicit BlockedTime(FlightRecorder& recorder)
      : recorder_(recorder), begin_ns_(recorder.clock().now_ns()) {}
  ~BlockedTime() {
    if (!exempt) recorder_.add_blocked_ns(recorder_.clock().now_ns() - begin_ns_);
  }
  // What this thread waits for holds up no computation: a backend's own.
  static void exempt_this_thread() { exempt = true; }
  BlockedTime(const BlockedTime&) = delete;
  BlockedTime& operator=(const BlockedTime&) = delete;

 private:
  static inline thread_local bool exempt = false;
  FlightRecorder& recorder_;
  int64_t begin_ns_;
};

}  // namespace trireme::comm
