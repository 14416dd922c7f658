// The ranks of a run: who they are, the store they meet in, the group of all of them. Made once,
// passed down; there is no global one, so several worlds (ranks as threads) can live in a process.
//
//   auto world = comm::World::from_env({.timeout_s = 60});
//   at::set_num_threads(world->threads());
//   world->world_group().all_reduce(x, comm::ReduceOp::kSum, "x")->wait();
//
// Who starts the ranks does not matter: `trireme launch`, torchrun --no-python, mpirun, srun,
// Kubernetes, or nobody (a world of one, without a socket); see rank_env.h. The store lives in the
// launcher when that has one, otherwise in a small process of its own that rank 0 forks, which ends
// when the ranks have gone: make the World before the process has started threads.
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <memory>
#include <string>
#include <vector>

#include "trireme/comm/group.h"
#include "trireme/comm/peers.h"
#include "trireme/comm/rank_env.h"

namespace c10d {
class Store;
}

namespace trireme::comm {

class FlightRecorder;
class ShmHost;

struct WorldOptions {
  // comm.backend. "shm": shared memory inside hosts, with TCP between them where a group is on
  // several with the same number of ranks each, two or more. "gloo": TCP. "auto": the first where
  // it is possible, the second otherwise.
  std::string backend = "auto";
  double timeout_s = 300;      // deadline of every operation
  double join_timeout_s = 60;  // how long to wait for the store and for all ranks to appear
  // Network interface to use, by name ("eth0"). Empty: the one towards the store; when that is at
  // localhost and ranks may be on other hosts, the first that those can reach.
  std::string interface;
  std::string bind_address;  // local address to use instead; empty: as `interface`
  // Where a rank that survives a failure writes flight-rankN.json (flight_dump.h); empty: nowhere.
  std::string flight_dir;
};

class World {
 public:
  // Joins the run that the environment describes; a world of one when it describes none. Throws
  // input_error on a malformed environment, an unknown interface, a port in use, a token that is
  // not the job's; run_error when ranks do not appear in time (they are named).
  static std::unique_ptr<World> from_env(const WorldOptions& options = {});
  // The same, with an environment given: what from_env does after parse_rank_env().
  static std::unique_ptr<World> from(const RankEnv& env, const WorldOptions& options = {});
  // A world of one: no network, no threads.
  static std::unique_ptr<World> single();
  // Joins `size` ranks that share `store` (from any source; tests use a HashStore). Ignores SIGPIPE
  // in the process unless it has a handler.
  static std::unique_ptr<World> join(c10::intrusive_ptr<c10d::Store> store, const RankEnv& env,
                                     const WorldOptions& options);

  // Tells the peers: an orderly leave, or, while an exception unwinds, that this rank failed.
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  int rank() const { return env_.rank; }
  int size() const { return env_.size; }
  int local_rank() const { return env_.local_rank; }
  int local_size() const { return env_.local_size; }
  const std::string& host() const { return peers_[static_cast<size_t>(rank())].host; }
  // Every rank's host, pid, address; index = rank.
  const std::vector<Peer>& peers() const { return peers_; }
  const WorldOptions& options() const { return options_; }
  // Compute threads for this rank: OMP_NUM_THREADS, or max(1, its cores / the ranks that share
  // them).
  int threads() const { return threads_; }

  // All ranks.
  Group& world_group() { return *world_group_; }
  // A group of the given ranks (ascending, this one among them). All of them call this, in the same
  // order, with the same name; the name is unique in the run.
  // `backend` ("shm", "gloo") is another than the options' for this group.
  std::unique_ptr<Group> make_group(const std::vector<int>& ranks, const std::string& name,
                                    const std::string& backend = "");
  // A group over hosts as they are given, which make_group() finds out by itself: `hosts` has the
  // ranks by host, the same number on each (hierarchical_group.h).
  std::unique_ptr<Group> make_hierarchy(const std::vector<int>& ranks,
                                        const std::vector<std::vector<int>>& hosts,
                                        const std::string& name);
  // The ranks of each host, by what they can share and not by names; hosts by their lowest rank.
  // Every rank is a host of its own when comm.backend is "gloo".
  const std::vector<std::vector<int>>& hosts() const;
  // What the world's group goes through: "shm", "shm+gloo" (several hosts) or "gloo"; "none" for
  // a world of one.
  std::string backend() const;
  // This rank's shared memory; null when comm.backend is "gloo", and for a world of one.
  ShmHost* shm();
  // Bytes of this rank's buffers in shared memory.
  int64_t shared_bytes() const;
  // What this rank does with its peers; every backend writes into it. A world of one records
  // nothing.
  FlightRecorder& recorder();
  // Key-value store of this job (keys under the job's own prefix). Null for a world of one.
  c10d::Store* store();

 private:
  std::unique_ptr<Group> make_gloo(const std::vector<int>& ranks, const std::string& name);
  std::unique_ptr<Group> make_shm(const std::vector<int>& ranks, const std::string& name);

  struct Parts;  // store, recorder, liveness, the backends
  World();

  RankEnv env_;
  WorldOptions options_;
  std::vector<Peer> peers_;
  int threads_ = 1;
  int uncaught_exceptions_ = 0;
  std::unique_ptr<Parts> parts_;
  std::unique_ptr<Group> world_group_;
};

}  // namespace trireme::comm
