// The ranks of this host while they run: their output, their ends, the signals for them.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "trireme/launch/child.h"
#include "trireme/launch/launcher.h"
#include "trireme/launch/signals.h"

namespace trireme::launch {

// Both arguments outlive it.
class Job {
 public:
  Job(const LaunchOptions& options, const Signals& signals)
      : options_(options), signals_(signals) {}
  // Kills what still runs: when starting a rank threw.
  ~Job();
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  // Starts a rank; throws as spawn() does.
  void start(int local_rank, const ChildSpec& spec);
  // Until all have ended; gives the job's exit code.
  int run();

 private:
  using Clock = std::chrono::steady_clock;
  struct Rank {
    int rank;
    pid_t pid;
    bool running;
  };

  int64_t running() const;
  void send_all(int sig) const;
  void step();
  void on_signal(int sig, bool from_terminal);
  void reap();
  void on_end(const Rank& rank, const RankEnd& end);
  void set_deadline(int sig, double seconds);
  int time_to_next_ms() const;
  void escalate();

  const LaunchOptions& options_;
  const Signals& signals_;
  std::vector<Rank> ranks_;
  std::vector<LineRelay> relays_;
  std::vector<RankEnd> ends_;
  bool failing_ = false;
  bool interrupted_ = false;
  std::optional<Clock::time_point> signalled_;  // the first signal to us
  int next_signal_ = 0;                         // sent at deadline_; 0: none
  Clock::time_point deadline_;
};

}  // namespace trireme::launch
