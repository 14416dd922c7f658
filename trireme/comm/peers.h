// Who the other ranks are: written into the store by each rank when it joins, read by all.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace trireme::comm {

struct Peer {
  int rank = 0;
  std::string host;
  long pid = 0;
  std::string address;  // where its liveness listener is
  int port = 0;
  std::vector<int> cpus;  // that it may run on

  // "rank 3 (host node7, pid 4711)"
  std::string name() const;
};

// Ranks for an error's one line: "a, b and 3 more", each as `name` says it.
std::string list_ranks(const std::vector<int>& ranks, const std::function<std::string(int)>& name);

std::string to_json(const Peer& peer);
// Throws run_error on anything that to_json() does not write.
Peer peer_from_json(const std::string& text);

}  // namespace trireme::comm
