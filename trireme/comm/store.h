// The key-value store that the ranks of a job meet in: c10d's TCPStore, served by the launcher or
// by a small process of its own, never by a rank.
//
// A job token keeps jobs apart that meet on one port by mistake: a rank whose token is not the
// job's gets an input_error instead of somebody else's peers. It is no secret (the store has no
// authentication): the store of a job that is known to be on one host listens on loopback only.
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "trireme/comm/rank_env.h"
#include "trireme/comm/sockets.h"

namespace c10d {
class Store;
}

namespace trireme::comm {

// Serves a store until it is destroyed, from a thread of its own.
class StoreServer {
 public:
  // `listener` is bound to `address` (empty: all addresses).
  StoreServer(Fd listener, const std::string& address, const std::string& job,
              const std::string& token);
  ~StoreServer();
  int port() const { return port_; }
  // Whether anyone has written to it.
  bool was_used() const;
  c10d::Store& store();

 private:
  int port_;
  c10::intrusive_ptr<c10d::Store> store_;
};

// A process that serves a store and ends when all its clients have gone, or when none has come for
// `patience`. The caller is not its parent. It outlives any one rank.
void fork_store_process(Fd listener, const std::string& address, const std::string& job,
                        const std::string& token, std::chrono::milliseconds patience);

// Joins the store that `env` tells of; the keys are this job's own. Throws run_error when nobody
// answers in time, input_error when the token is not the job's.
c10::intrusive_ptr<c10d::Store> connect_store(const RankEnv& env,
                                              std::chrono::milliseconds timeout);

// Every rank's text under `key`, in rank order; each writes its own. Throws what the store throws
// when one does not come in time.
struct RankOf {
  int rank, size;
};
std::vector<std::string> gather(c10d::Store& store, const std::string& key, RankOf me,
                                const std::string& mine, std::chrono::milliseconds timeout);

// 32 hexadecimal digits that nobody guesses.
std::string random_token();

}  // namespace trireme::comm
