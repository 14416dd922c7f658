#include "trireme/comm/failure.h"

#include "trireme/base/error.h"

namespace trireme::comm {

Json to_json(const Failure& failure) {
  return {
      {"culprits", failure.culprits}, {"reason", failure.reason}, {"reporter", failure.reporter}};
}

Failure failure_from_json(const Json& json, const std::string& where) {
  Failure failure;
  for (const Json& rank : require_array(json, "culprits", where)) {
    failure.culprits.push_back(static_cast<int>(as_int(rank, where)));
  }
  failure.reason = require_string(json, "reason", where);
  failure.reporter = static_cast<int>(require_int(json, "reporter", where));
  return failure;
}

std::string describe(const Failure& failure, const std::vector<Peer>& peers) {
  const std::string culprits = list_ranks(failure.culprits, [&](int rank) {
    const auto index = static_cast<size_t>(rank);
    return index < peers.size() ? peers[index].name() : cat("rank ", rank);
  });
  return culprits.empty() ? failure.reason : cat(culprits, " ", failure.reason);
}

std::string describe(const Failure& failure, const std::vector<Peer>& peers, int my_rank,
                     const Operation& mine) {
  return cat(describe(failure, peers), "; ", peers[static_cast<size_t>(my_rank)].name(), " was in ",
             mine.name());
}

}  // namespace trireme::comm
