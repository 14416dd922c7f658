// Who is alive: a thread and a listening socket a rank, apart from the data.
//
// - Every rank keeps a connection to the next one (in a ring), so each is watched from both sides:
//   a process that dies closes them, within milliseconds; a host that loses power is noticed by
//   keep-alive within about 15 s. Whoever sees it tells all other ranks directly, then its own
//   FailureBoard. A rank that leaves says goodbye first.
// - When an operation passes its deadline, find_out() asks every peer what it is doing. The kernel
//   accepts a connection for a stopped process, but nobody answers: that is the stuck one.
//
// Nothing is sent while all goes well.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "trireme/comm/failure.h"
#include "trireme/comm/flight_recorder.h"
#include "trireme/comm/peers.h"
#include "trireme/comm/sockets.h"

namespace trireme::comm {

class Liveness {
 public:
  // `listener` is the socket that this rank's entry in `peers` tells of. `run` keeps other runs'
  // connections out. Peers that ask are told what `recorder` holds. Throws run_error when the next
  // rank cannot be reached.
  Liveness(int rank, std::vector<Peer> peers, Fd listener, const std::string& run,
           std::shared_ptr<FlightRecorder> recorder);
  // An orderly leave, unless leave_failed() was called.
  ~Liveness();
  Liveness(const Liveness&) = delete;
  Liveness& operator=(const Liveness&) = delete;

  int rank() const { return rank_; }
  const std::vector<Peer>& peers() const { return peers_; }
  FailureBoard& board() { return board_; }
  // Operations may hold it for longer than this lives.
  const std::shared_ptr<FlightRecorder>& recorder() const { return recorder_; }

  // The failure that holds up `mine`, among `ranks`: known already, or found by asking (half a
  // second at most). It is reported here and to all peers.
  Failure find_out(const Operation& mine, const std::vector<int>& ranks);
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
  void lost(int rank, const std::string& reason);
  void say_goodbye();
  // Sends `line` to all of `ranks` at once and, with `want_answer`, collects what comes back, for
  // half a second at most.
  std::map<int, Answer> tell(const std::vector<int>& ranks, const std::string& line,
                             bool want_answer) const;
  void report_to_all(const Failure& failure);

  const int rank_;
  const std::vector<Peer> peers_;
  const std::string greeting_;  // begins every line
  FailureBoard board_;
  const std::shared_ptr<FlightRecorder> recorder_;
  Fd listener_;
  Fd wake_;  // eventfd: the destructor's
  std::vector<Connection> connections_;
  std::atomic<bool> failed_ = false;
  std::thread thread_;
};

}  // namespace trireme::comm
