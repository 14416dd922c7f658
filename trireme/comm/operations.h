// What this rank is doing: the last operation of every group, kept in memory, told to a peer that
// asks.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::comm {

struct Operation {
  std::string group{};
  std::string kind{};  // "all_reduce"
  std::string tag{};   // what for: "grads/3"
  std::string dtype{};
  int64_t bytes = 0;
  uint64_t seq =
      0;  // counts the group's collectives from 1; point-to-point: those with this peer, each way
  int peer = -1;        // world rank of the other side; -1: a collective
  bool running = true;  // not yet over
  double age_s = 0;     // since its begin

  // all_reduce 'grads/3' (#17 of world, 4.0 MiB float32)
  std::string name() const;
};

std::string to_json(const std::vector<Operation>& operations);
// Empty when the text is not what to_json() writes.
std::vector<Operation> operations_from_json(const std::string& text);

// Thread-safe. An entry costs well under a microsecond.
class OperationTable {
 public:
  // Numbers the operation and keeps it as its group's last.
  Operation begin(Operation operation);
  void end(const Operation& operation);
  // The last operation of each group, collectives and point-to-point apart, with its age.
  std::vector<Operation> last() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    Operation last;
    uint64_t ended = 0;  // the highest sequence number that is over
    Clock::time_point begun;
  };
  static std::string key(const Operation& operation);

  mutable std::mutex mutex_;
  std::map<std::string, Entry> entries_;
};

}  // namespace trireme::comm
