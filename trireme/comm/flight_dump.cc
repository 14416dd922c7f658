#include "trireme/comm/flight_dump.h"

#include <algorithm>
#include <set>

#include "trireme/base/error.h"
#include "trireme/base/files.h"

namespace trireme::comm {
namespace {

constexpr char kFormat[] = "trireme flight 1";

Peer short_peer(const Json& json, const std::string& where) {
  Peer peer;
  peer.rank = static_cast<int>(require_int(json, "rank", where));
  peer.host = require_string(json, "host", where);
  peer.pid = static_cast<long>(require_int(json, "pid", where));
  return peer;
}

std::set<std::string> names(const FlightDump& dump) {
  std::set<std::string> out;
  for (const Peer& peer : dump.peers) out.insert(peer.name());
  return out;
}

}  // namespace

std::string write_flight_dump(const std::string& folder, const FlightDump& dump) {
  Json peers = Json::array();
  for (const Peer& peer : dump.peers) {
    peers.push_back({{"rank", peer.rank}, {"host", peer.host}, {"pid", peer.pid}});
  }
  Json answers = Json::array();
  for (const auto& [rank, answer] : dump.answers) {
    answers.push_back({{"rank", rank}, {"answer", to_json(answer)}});
  }
  const Json json = {{"format", kFormat},
                     {"rank", dump.rank},
                     {"time", dump.time},
                     {"verdict", describe(dump.failure, dump.peers)},
                     {"failure", to_json(dump.failure)},
                     {"peers", peers},
                     {"last", to_json(dump.last)},
                     {"answers", answers},
                     {"operations", to_json(dump.operations)}};
  ensure_dir(folder);
  const std::string path = cat(folder, "/flight-rank", dump.rank, ".json");
  write_file_atomic(path, dump_json(json, 1) + "\n");
  return path;
}

FlightDump read_flight_dump(const std::string& path) {
  const Json json = read_json_file(path);
  if (optional_string(as_object(json, path), "format", path, "") != kFormat) {
    throw input_error(path, ": not a flight dump of this version (\"format\" is not \"", kFormat,
                      "\"); give flight-rankN.json files that the ranks of a failed run wrote");
  }
  FlightDump dump;
  dump.rank = static_cast<int>(require_int(json, "rank", path));
  dump.time = require_string(json, "time", path);
  for (const Json& peer : require_array(json, "peers", path)) {
    dump.peers.push_back(short_peer(peer, path + ": peers"));
    if (dump.peers.back().rank != static_cast<int>(dump.peers.size()) - 1) {
      throw input_error(path, ": peers: are not in the order of their ranks");
    }
  }
  const auto check_rank = [&](int rank) {
    if (rank < 0 || rank >= static_cast<int>(dump.peers.size())) {
      throw input_error(path, ": there is no rank ", rank, " in a run of ", dump.peers.size());
    }
    return rank;
  };
  check_rank(dump.rank);
  dump.failure = failure_from_json(require_object(json, "failure", path), path + ": failure");
  for (const int culprit : dump.failure.culprits) check_rank(culprit);
  dump.last = operations_from_json(require_array(json, "last", path), path + ": last");
  for (const Json& item : require_array(json, "answers", path)) {
    const int rank = check_rank(static_cast<int>(require_int(item, "rank", path + ": answers")));
    dump.answers[rank] = answer_from_json(require_object(item, "answer", path), path + ": answers");
  }
  dump.operations =
      operations_from_json(require_array(json, "operations", path), path + ": operations");
  return dump;
}

FlightReport merge(const std::vector<FlightDump>& dumps) {
  const FlightDump& first = dumps.at(0);
  // The others' words are second-hand: only for ranks that left no dump.
  std::map<int, Answer> answers;
  // All say the same, but for reports that crossed: the lowest reporter's stands (failure_board.h).
  const FlightDump* standing = &first;
  for (const FlightDump& dump : dumps) {
    if (names(dump) != names(first)) {
      throw input_error("the dumps of rank ", first.rank, " and rank ", dump.rank,
                        " are of different runs (other hosts or pids); give those of one run");
    }
    for (const auto& [rank, answer] : dump.answers) answers[rank] = answer;
    if (dump.failure.reporter < standing->failure.reporter) standing = &dump;
  }
  std::set<int> with_dump;
  for (const FlightDump& dump : dumps) {
    answers[dump.rank] = {Answer::Kind::kSpoke, dump.last, {}};
    with_dump.insert(dump.rank);
  }
  FlightReport report;
  report.verdict = describe(standing->failure, standing->peers);
  report.rows = last_operations_table(answers);
  for (const Peer& peer : first.peers) {
    if (!with_dump.contains(peer.rank)) report.missing.push_back(peer.rank);
  }
  return report;
}

}  // namespace trireme::comm
