// Which ranks share this host's memory, and the sockets between them, over which they pass file
// descriptors. Found by trying: an abstract Unix socket is reached by the processes of one host and
// network namespace. What launchers say (LOCAL_WORLD_SIZE), host names and boot ids do not decide.
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "trireme/comm/sockets.h"

namespace c10d {
class Store;
}

namespace trireme::comm {

class LocalPeers {
 public:
  // Every rank calls it. Throws run_error when a peer that was reached does not answer in time.
  static LocalPeers find(c10d::Store& store, int rank, int size, std::chrono::milliseconds timeout);

  // The ranks of each host, ascending; hosts by their lowest rank. The same on every rank.
  const std::vector<std::vector<int>>& hosts() const { return hosts_; }
  // Those of this rank's host, itself included.
  const std::vector<int>& here() const { return hosts_[here_]; }

  // A file for `rank` of this host, with a number and a size that say what it is. The receiver
  // takes all that came so far; files from one rank come in the order in which they were sent.
  // send() to a rank that has left does nothing.
  struct File {
    uint64_t number = 0;
    uint64_t bytes = 0;
    Fd fd;
  };
  void send(int rank, uint64_t number, uint64_t bytes, const Fd& fd);
  std::optional<File> receive(int rank);

 private:
  int rank_ = 0;
  std::vector<std::vector<int>> hosts_;
  size_t here_ = 0;
  std::map<int, Fd> sockets_;
};

}  // namespace trireme::comm
