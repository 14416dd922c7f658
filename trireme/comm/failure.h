// A failure of the run as the survivors see it: who, and how it was noticed. Found once by whoever
// sees it first, then passed to all, so that every survivor names the same culprit.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "trireme/comm/operations.h"
#include "trireme/comm/peers.h"

namespace trireme::comm {

struct Failure {
  std::vector<int> culprits;  // world ranks; empty: no rank is to blame (the network)
  std::string reason;         // "died: its connection closed"
};

std::string to_json(const Failure& failure);
std::optional<Failure> failure_from_json(const std::string& text);

// One line: "rank 2 (host a, pid 9) died: its connection closed; rank 0 (...) was in all_reduce
// '...' (...)".
std::string describe(const Failure& failure, const std::vector<Peer>& peers, int my_rank,
                     const Operation* operation);

// How a peer answered when it was asked what it is doing.
struct Answer {
  enum class Kind { kGone, kSilent, kSpoke } kind = Kind::kSilent;
  std::vector<Operation> last;  // kSpoke: its FlightRecorder::last()
};

// Who holds up `mine`, given what the others say. Pure. `answers` by world rank; `ranks` are those
// of the group (my own is not looked at). In this order: ranks that are gone, ranks that do not
// answer, ranks that have not reached the operation.
Failure find_culprit(const Operation& mine, int my_rank, const std::vector<int>& ranks,
                     const std::map<int, Answer>& answers);

// Holds this rank's knowledge of the failure. Thread-safe; the first report stands.
class FailureBoard {
 public:
  // False: there was one already.
  bool report(const Failure& failure);
  std::optional<Failure> get() const;
  std::optional<Failure> wait_for(std::chrono::milliseconds time) const;
  // Calls `f` when a failure is reported (from the thread that reports), or at once when there is
  // one; twice when the two meet. Unsubscribing waits for a call under way.
  int subscribe(std::function<void()> f);
  void unsubscribe(int id);

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::optional<Failure> failure_;
  std::mutex calls_mutex_;
  std::map<int, std::function<void()>> subscribers_;
  int next_id_ = 0;
};

}  // namespace trireme::comm
