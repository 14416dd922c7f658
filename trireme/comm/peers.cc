#include "trireme/comm/peers.h"

#include <nlohmann/json.hpp>

#include "trireme/base/error.h"
#include "trireme/base/list_text.h"

namespace trireme::comm {

std::string Peer::name() const {
  return cat("rank ", rank, " (host ", host, ", pid ", pid, ")");
}

std::string list_ranks(const std::vector<int>& ranks, const std::function<std::string(int)>& name) {
  constexpr size_t kMaxNamed = 8;
  std::vector<std::string> names;
  names.reserve(ranks.size());
  for (const int rank : ranks) names.push_back(name(rank));
  return list_text(names, kMaxNamed);
}

std::string to_json(const Peer& peer) {
  return nlohmann::json{{"rank", peer.rank},       {"host", peer.host}, {"pid", peer.pid},
                        {"address", peer.address}, {"port", peer.port}, {"cpus", peer.cpus}}
      .dump();
}

Peer peer_from_json(const std::string& text) {
  try {
    const nlohmann::json json = nlohmann::json::parse(text);
    Peer peer;
    json.at("rank").get_to(peer.rank);
    json.at("host").get_to(peer.host);
    json.at("pid").get_to(peer.pid);
    json.at("address").get_to(peer.address);
    json.at("port").get_to(peer.port);
    json.at("cpus").get_to(peer.cpus);
    return peer;
  } catch (const nlohmann::json::exception&) {
    throw run_error("the store holds an entry of a rank that this version cannot read ('",
                    text.substr(0, 80), "'): do all ranks run the same version of trireme?");
  }
}

}  // namespace trireme::comm
