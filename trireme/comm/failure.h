// A failure of the run as the survivors see it: who, and how it was noticed. Found once by whoever
// sees it first, then passed to all, so that every survivor names the same culprit.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "trireme/base/json.h"
#include "trireme/comm/operations.h"
#include "trireme/comm/peers.h"

namespace trireme::comm {

struct Failure {
  std::vector<int> culprits;  // world ranks; empty: no rank is to blame (the network)
  std::string reason;         // "died: its connection closed"
  int reporter = -1;          // the world rank that found it
};

Json to_json(const Failure& failure);
// Throws input_error on anything that to_json() does not write; `where` opens the message.
Failure failure_from_json(const Json& json, const std::string& where);

// One line: "rank 2 (host a, pid 9) died: its connection closed", and with what this rank was in
// "; rank 0 (...) was in all_reduce '...' (...)".
std::string describe(const Failure& failure, const std::vector<Peer>& peers);
std::string describe(const Failure& failure, const std::vector<Peer>& peers, int my_rank,
                     const Operation& mine);

}  // namespace trireme::comm
