// What this rank knows of a failure of the job. Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>

#include "trireme/comm/failure.h"

namespace trireme::comm {

// Two ranks may find a failure at the same moment, each in its own words. Therefore a report is
// not shown before it has settled: of those that arrive within kSettleTime of the first, the one
// of the lowest reporter stands, on every rank.
class FailureBoard {
 public:
  static constexpr std::chrono::milliseconds kSettleTime{100};

  // False: there is one already that stands before it.
  bool report(const Failure& failure);
  // The failure that stands; none while it settles, or while a Hold lives.
  std::optional<Failure> get() const;
  std::optional<Failure> wait_for(std::chrono::milliseconds time) const;
  // Whether anything was reported, settled or not.
  bool reported() const;

  // While one lives nothing is shown: the reporter tells its peers before it may end itself, so
  // that its end is not taken for the cause.
  class Hold {
   public:
    explicit Hold(FailureBoard& board);
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    FailureBoard& board_;
  };

  // Calls `f` when the first failure is reported (from the thread that reports), or at once when
  // there is one; twice when the two meet. Unsubscribing waits for a call under way.
  int subscribe(std::function<void()> f);
  void unsubscribe(int id);

 private:
  using Clock = std::chrono::steady_clock;

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::optional<Failure> failure_;
  Clock::time_point settled_at_;
  int holds_ = 0;
  std::mutex calls_mutex_;
  std::map<int, std::function<void()>> subscribers_;
  int next_id_ = 0;
};

}  // namespace trireme::comm
