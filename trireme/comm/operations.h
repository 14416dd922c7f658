// An operation between ranks, in words: for error messages, dumps, and to tell a peer that asks.
// flight_recorder.h keeps them while they run.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trireme/base/json.h"

namespace trireme::comm {

enum class OperationKind : uint8_t {
  kConnect,  // a group's start
  kAllReduce,
  kBroadcast,
  kAllGather,
  kReduceScatter,
  kAllToAll,
  kBarrier,
  kSend,
  kRecv,
};

// "all_reduce", as in group.h.
const char* kind_name(OperationKind kind);

struct Operation {
  std::string group{};
  std::string kind{};  // kind_name()
  std::string tag{};   // what for: "grads/3"
  std::string dtype{};
  int64_t bytes = 0;
  // Counts the group's collectives from 1; point-to-point: those with this peer, each way.
  uint64_t seq = 0;
  int peer = -1;        // world rank of the other side, or of a broadcast's root; -1: neither
  bool running = true;  // not yet over
  double age_s = 0;     // since its begin
  double took_s = 0;    // from begin to end; 0 while it runs

  bool point_to_point() const { return kind == "send" || kind == "recv"; }
  // "all_reduce 'grads/3' (#17 of world, 4.0 MiB Float)"
  std::string name() const;
};

// Whether two ranks' operations with the same place in the same group fit together: collectives are
// of the same kind, size, dtype and root; a send meets a receive of its size and dtype. Empty: they
// do; otherwise the first that differs, as mine and theirs: "4.0 KiB against 8.0 KiB". Pure.
std::string mismatch(const Operation& mine, const Operation& theirs);

Json to_json(const std::vector<Operation>& operations);
// Throws input_error on anything that to_json() does not write; `where` opens the message.
std::vector<Operation> operations_from_json(const Json& list, const std::string& where);

}  // namespace trireme::comm
