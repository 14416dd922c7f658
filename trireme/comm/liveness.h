// Who is alive: a thread and a listening socket a rank, apart from the data.
//
// - Every rank keeps a connection to the next one (in a ring), so each is watched from both sides:
//   a process that dies closes them, within milliseconds; a host that loses power is noticed by
//   keep-alive within about 15 s. Whoever sees it tells all other ranks directly, then its own
//   FailureBoard. A rank that leaves says goodbye first, with its last operations.
// - When an operation passes its deadline or breaks, find_out() asks every peer what it is doing,
//   and find_culprit() compares. The kernel accepts a connection for a stopped process, but nobody
//   answers: that is the stuck one.
//
// Nothing is sent while all goes well.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "trireme/comm/culprit.h"
#include "trireme/comm/failure_board.h"
#include "trireme/comm/flight_recorder.h"
#include "trireme/comm/peers.h"
#include "trireme/comm/sockets.h"

namespace trireme::comm {

struct LivenessOptions {
  int rank = 0;
  std::vector<Peer> peers;  // all ranks; this one's entry tells where `listener` is
  std::string run;          // keeps other runs' connections out
  std::shared_ptr<FlightRecorder> recorder;  // what peers that ask are told
  std::string flight_dir;                    // of the dumps; empty: none
};

class Liveness {
 public:
  // Throws run_error when the next rank cannot be reached.
  Liveness(LivenessOptions options, Fd listener);
  // An orderly leave, unless leave_failed() was called.
  ~Liveness();
  Liveness(const Liveness&) = delete;
  Liveness& operator=(const Liveness&) = delete;

  int rank() const { return options_.rank; }
  const std::vector<Peer>& peers() const { return options_.peers; }
  FailureBoard& board() { return board_; }
  // Operations may hold it for longer than this lives.
  const std::shared_ptr<FlightRecorder>& recorder() const { return options_.recorder; }

  struct Finding {
    // How it was noticed, behind the verdict: "; deadline of 2 s (comm.timeout_s)".
    std::string noticed;
    // How long to wait for a verdict that is certain, or for news of a death, before what is known
    // is taken.
    std::chrono::milliseconds patience{0};
  };
  // The failure that holds up `mine`, among `ranks`: known already, or found by asking (half a
  // second at most). It is reported here and to all peers.
  Failure find_out(const Operation& mine, const std::vector<int>& ranks, const Finding& finding);
  // Before an operation throws for the failure that stands: writes this rank's dump, and on the
  // rank that reported it logs what every rank did last. Once; further calls do nothing.
  void conclude(const Failure& failure);
  // The goodbye will say that this rank failed: its peers stop too.
  void leave_failed() { failed_ = true; }

 private:
  struct Connection {
    Fd socket;
    std::string received;
    int watches = -1;  // the rank at the other end, for the two that are kept
  };
  enum class Fate { kKeep, kClose };

  void run();
  void accept_one();
  Fate read_from(Connection& connection);
  Fate take_line(Connection& connection, const std::string& line);
  void lost(const Failure& failure);
  void say_goodbye();
  std::string speak(const Operation* about, int asker) const;
  std::map<int, Answer> ask(const Operation& mine, const std::vector<int>& ranks) const;
  // `known`: of the ranks, so far.
  void report_to_all(Failure failure, std::map<int, Answer> known);

  const LivenessOptions options_;
  const std::string greeting_;  // begins every line
  FailureBoard board_;
  Fd listener_;
  Fd wake_;  // eventfd: the destructor's
  std::vector<Connection> connections_;
  std::atomic<bool> failed_ = false;
  std::once_flag concluded_;

  mutable std::mutex mutex_;
  std::map<int, Answer> left_;     // peers that said goodbye; history: all of the last operations
  std::map<int, Answer> answers_;  // what was known when this rank reported

  std::thread thread_;
  std::thread reporter_;  // tells the others of a death, so that thread_ goes on answering
};

}  // namespace trireme::comm
