#include "trireme/comm/world.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <set>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "trireme/base/error.h"
#include "trireme/comm/foreign_error.h"
#include "trireme/comm/gloo_group.h"
#include "trireme/comm/gloo_transport.h"
#include "trireme/comm/hierarchical_group.h"
#include "trireme/comm/liveness.h"
#include "trireme/comm/local_peers.h"
#include "trireme/comm/shm_group.h"
#include "trireme/comm/single_group.h"
#include "trireme/comm/sockets.h"
#include "trireme/comm/store.h"
#include "trireme/comm/time_limit.h"

namespace trireme::comm {
namespace {

using Millis = std::chrono::milliseconds;

std::string host_name() {
  char name[256] = "unknown";
  gethostname(name, sizeof(name) - 1);
  return name;
}

void check_options(const WorldOptions& options) {
  if (options.backend == "nccl") {
    throw input_error("comm.backend = 'nccl': this build computes on CPUs alone; use 'auto'");
  }
  if (options.backend != "auto" && options.backend != "shm" && options.backend != "gloo") {
    throw input_error("comm.backend = '", options.backend, "': not one of 'auto', 'shm', 'gloo'");
  }
  if (!(options.timeout_s > 0) || !(options.join_timeout_s > 0)) {
    throw input_error("comm.timeout_s must be above 0");
  }
}

// Whether all ranks are known to be here. Kubernetes' PyTorchJob calls the first pod's store
// "localhost" in that pod, by the pod's name in the others, and gives no local count; a loopback
// number without one is of one host, as other hosts would have been told something else.
bool on_one_host(const RankEnv& env) {
  return env.local_known ? env.local_size == env.size
                         : is_loopback(env.master_addr) && env.master_addr != "localhost";
}

// Where rank 0's own store listens; empty: on all addresses.
std::string store_address(const RankEnv& env, const WorldOptions& options) {
  if (!is_loopback(env.master_addr) || !on_one_host(env)) {
    return options.bind_address;
  }
  return env.master_addr == "localhost" ? "127.0.0.1" : env.master_addr;
}

// The local address for data and liveness.
std::string choose_address(const RankEnv& env, const WorldOptions& options) {
  if (!options.interface.empty()) {
    return interface_address(options.interface);
  }
  if (!options.bind_address.empty()) {
    return options.bind_address;
  }
  if (env.master_addr.empty()) {
    return "127.0.0.1";
  }
  const std::string towards = local_address_towards(env.master_addr, env.master_port);
  return is_loopback(towards) && !on_one_host(env) ? routable_address() : towards;
}

// Writes this rank's entry and reads everyone's.
std::vector<Peer> meet(c10d::Store& store, const RankEnv& env, const Peer& self, Millis timeout) {
  if (store.add(cat("claim/", env.rank), 1) != 1) {
    throw input_error("rank ", env.rank,
                      " has joined already: two processes of this job have RANK=", env.rank);
  }
  store.set(cat("peer/", env.rank), to_json(self));
  std::vector<std::string> keys;
  for (int r = 0; r < env.size; ++r) {
    keys.push_back(cat("peer/", r));
  }
  try {
    const QuietC10d quiet;
    store.wait(keys, timeout);
  } catch (const std::exception&) {
    std::vector<int> missing;
    try {
      for (int r = 0; r < env.size; ++r) {
        if (!store.check({keys[static_cast<size_t>(r)]})) {
          missing.push_back(r);
        }
      }
    } catch (const std::exception&) {
      throw run_error("the store at ", env.master_addr, ":", env.master_port,
                      " has gone while the ranks joined");
    }
    if (!missing.empty()) {
      throw run_error(missing.size(), " of ", env.size, " ranks did not join within ",
                      static_cast<double>(timeout.count()) / 1000, " s: rank ",
                      list_ranks(missing, [](int r) { return std::to_string(r); }),
                      "; see their output, or that of the hosts that should run them");
    }
  }
  std::vector<Peer> peers;
  for (const std::string& key : keys) {
    peers.push_back(peer_from_json(store.get_to_str(key)));
  }
  return peers;
}

// Cores that any of the ranks may run on.
size_t cores_of(const std::vector<int>& ranks, const std::vector<Peer>& peers) {
  std::set<int> cores;
  for (const int r : ranks) {
    const Peer& peer = peers[static_cast<size_t>(r)];
    cores.insert(peer.cpus.begin(), peer.cpus.end());
  }
  return cores.size();
}

// Those of the ranks that each host has.
std::vector<std::vector<int>> by_host(const std::vector<int>& ranks,
                                      const std::vector<std::vector<int>>& hosts) {
  std::vector<std::vector<int>> found;
  for (const std::vector<int>& host : hosts) {
    std::vector<int> here;
    std::set_intersection(host.begin(), host.end(), ranks.begin(), ranks.end(),
                          std::back_inserter(here));
    if (!here.empty()) found.push_back(std::move(here));
  }
  return found;
}

bool share_cores(const Peer& a, const Peer& b) {
  std::vector<int> both;
  std::set_intersection(a.cpus.begin(), a.cpus.end(), b.cpus.begin(), b.cpus.end(),
                        std::back_inserter(both));
  return a.host == b.host && !both.empty();
}

int count_threads(const std::vector<Peer>& peers, const Peer& self) {
  const auto sharers = std::count_if(peers.begin(), peers.end(),
                                     [&](const Peer& p) { return share_cores(p, self); });
  const char* omp = std::getenv("OMP_NUM_THREADS");
  return threads_per_rank(static_cast<int>(self.cpus.size()), cgroup_cpu_limit(),
                          static_cast<int>(sharers), omp == nullptr ? "" : omp);
}

// Gloo writes to its sockets with writev(), which has no MSG_NOSIGNAL: a survivor would die of the
// signal before it can name the rank that is gone. A program's own handler stays.
void ignore_broken_pipes() {
  struct sigaction current {};
  sigaction(SIGPIPE, nullptr, &current);
  if (current.sa_handler == SIG_DFL) std::signal(SIGPIPE, SIG_IGN);
}

// For launchers that do not tell: ranks of one host name are of one host.
void count_local_ranks(RankEnv& env, const std::vector<Peer>& peers) {
  const std::string& host = peers[static_cast<size_t>(env.rank)].host;
  env.local_size = 0;
  for (const Peer& p : peers) {
    if (p.host == host) {
      env.local_rank = p.rank == env.rank ? env.local_size : env.local_rank;
      ++env.local_size;
    }
  }
  env.local_known = true;
}

}  // namespace

struct World::Parts {
  c10::intrusive_ptr<c10d::Store> store;
  std::shared_ptr<FlightRecorder> recorder = std::make_shared<FlightRecorder>();
  std::shared_ptr<Liveness> liveness;
  std::shared_ptr<GlooTransport> transport;
  std::shared_ptr<ShmHost> shm;
  std::vector<std::vector<int>> hosts;
  std::set<std::string> group_names;

  // Keys of one group alone.
  c10::intrusive_ptr<c10d::Store> group_store(const std::string& name) const {
    return c10::make_intrusive<c10d::PrefixStore>("group/" + name, store);
  }
};

World::World() : parts_(std::make_unique<Parts>()) {}

World::~World() {
  if (parts_->liveness &&
      (std::uncaught_exceptions() > uncaught_exceptions_ || parts_->liveness->board().get())) {
    parts_->liveness->leave_failed();
  }
}

std::unique_ptr<World> World::from_env(const WorldOptions& options) {
  return from(parse_rank_env(process_environment()), options);
}

std::unique_ptr<World> World::single() {
  return from(RankEnv{}, {});
}

std::unique_ptr<World> World::from(const RankEnv& env, const WorldOptions& options) {
  check_options(options);
  if (env.size == 1) {
    std::unique_ptr<World> world(new World());
    world->env_ = env;
    world->options_ = options;
    world->peers_ = {{0, host_name(), static_cast<long>(getpid()), "", 0, available_cpus()}};
    world->threads_ = count_threads(world->peers_, world->peers_[0]);
    world->parts_->hosts = {{0}};
    world->world_group_ = make_single_group();
    return world;
  }
  const Millis timeout = to_ms(options.join_timeout_s);
  choose_address(env, options);  // a wrong interface is told before anything starts
  RankEnv here = env;
  if (env.store == StoreHome::kOwn && env.rank == 0) {
    const std::string address = store_address(env, options);
    Fd listener = listen_on(address, env.master_port,
                            "choose another with MASTER_PORT, the same for all ranks");
    fork_store_process(std::move(listener), address, env.job, env.token, timeout);
    here.master_addr = address.empty() ? env.master_addr : address;
  }
  return join(connect_store(here, timeout), env, options);
}

std::unique_ptr<World> World::join(c10::intrusive_ptr<c10d::Store> store, const RankEnv& env,
                                   const WorldOptions& options) {
  check_options(options);
  ignore_broken_pipes();
  std::unique_ptr<World> world(new World());
  world->uncaught_exceptions_ = std::uncaught_exceptions();
  world->env_ = env;
  world->options_ = options;
  const std::string address = choose_address(env, options);
  Fd listener = listen_on(address, 0, "choose another with comm.interface");
  const Peer self{env.rank,
                  host_name(),
                  static_cast<long>(getpid()),
                  address,
                  local_port(listener.get()),
                  available_cpus()};
  world->peers_ = meet(*store, env, self, to_ms(options.join_timeout_s));
  if (!env.local_known) {
    count_local_ranks(world->env_, world->peers_);
  }
  world->threads_ = count_threads(world->peers_, self);
  world->parts_->store = std::move(store);
  // Rank 0's entry tells this run from any other that had the same addresses.
  const Peer& first = world->peers_[0];
  const std::string run = cat(first.pid, '.', first.port);
  world->parts_->liveness =
      std::make_shared<Liveness>(LivenessOptions{.rank = env.rank,
                                                 .peers = world->peers_,
                                                 .run = run,
                                                 .recorder = world->parts_->recorder,
                                                 .flight_dir = options.flight_dir},
                                 std::move(listener));
  world->parts_->transport = std::make_shared<GlooTransport>(address);
  if (options.backend != "gloo") {
    LocalPeers peers =
        LocalPeers::find(*world->parts_->store, env.rank, env.size, to_ms(options.join_timeout_s));
    world->parts_->hosts = peers.hosts();
    const bool spin = cores_of(peers.here(), world->peers_) >= peers.here().size();
    world->parts_->shm = make_shm_host(env.rank, std::move(peers), spin);
  } else {
    for (int r = 0; r < env.size; ++r) world->parts_->hosts.push_back({r});
  }
  std::vector<int> all;
  for (int r = 0; r < env.size; ++r) {
    all.push_back(r);
  }
  world->world_group_ = world->make_group(all, "world");
  return world;
}

std::unique_ptr<Group> World::make_group(const std::vector<int>& ranks, const std::string& name,
                                         const std::string& backend) {
  if (size() == 1) {
    return make_single_group();
  }
  if (!parts_->group_names.insert(name).second) {
    throw run_error("a group '", name, "' exists already");
  }
  if (ranks.size() == 1) {
    return make_single_group();
  }
  const std::string& asked = backend.empty() ? options_.backend : backend;
  const auto hosts = by_host(ranks, parts_->hosts);
  const bool shares = hosts.size() == 1 || is_hierarchy(hosts);
  if (asked == "shm" && !shares) {
    throw input_error("comm.backend = 'shm': the ranks of the group '", name, "' are on ",
                      hosts.size(),
                      " hosts (or network namespaces), which is not the same number of ranks, two "
                      "or more, on each; use 'auto' or 'gloo'");
  }
  if (asked == "gloo" || !shares) return make_gloo(ranks, name);
  return hosts.size() == 1 ? make_shm(ranks, name) : make_hierarchy(ranks, hosts, name);
}

std::unique_ptr<Group> World::make_gloo(const std::vector<int>& ranks, const std::string& name) {
  const GlooGroupOptions options{name, ranks, parts_->group_store(name), options_.timeout_s,
                                 options_.join_timeout_s};
  return make_gloo_group(options, parts_->transport, parts_->liveness);
}

std::unique_ptr<Group> World::make_shm(const std::vector<int>& ranks, const std::string& name) {
  const ShmGroupOptions options{name, ranks, parts_->group_store(name), options_.timeout_s,
                                options_.join_timeout_s};
  return make_shm_group(options, parts_->shm, parts_->liveness);
}

std::unique_ptr<Group> World::make_hierarchy(const std::vector<int>& ranks,
                                             const std::vector<std::vector<int>>& hosts,
                                             const std::string& name) {
  HierarchicalParts parts;
  parts.name = name;
  parts.ranks = ranks;
  parts.timeout_s = options_.timeout_s;
  std::vector<int> across;
  for (const std::vector<int>& host : hosts) {
    auto& members = parts.hosts.emplace_back();
    for (const int r : host) {
      members.push_back(
          static_cast<int>(std::lower_bound(ranks.begin(), ranks.end(), r) - ranks.begin()));
    }
  }
  for (const std::vector<int>& host : hosts) {
    const auto me = std::find(host.begin(), host.end(), rank());
    if (me == host.end()) continue;
    parts.local = make_shm(host, cat(name, ".host", host[0]));
    for (const auto& other : hosts) across.push_back(other[static_cast<size_t>(me - host.begin())]);
  }
  parts.across = make_gloo(across, cat(name, ".across", across[0]));
  parts.flat = make_gloo(ranks, name + ".flat");
  return make_hierarchical_group(std::move(parts), parts_->liveness);
}

const std::vector<std::vector<int>>& World::hosts() const {
  return parts_->hosts;
}

std::string World::backend() const {
  if (size() == 1) return "none";
  if (parts_->shm && parts_->hosts.size() == 1) return "shm";
  return parts_->shm && is_hierarchy(parts_->hosts) ? "shm+gloo" : "gloo";
}

ShmHost* World::shm() {
  return parts_->shm.get();
}

int64_t World::shared_bytes() const {
  return parts_->shm ? static_cast<int64_t>(arena_bytes(*parts_->shm)) : 0;
}

FlightRecorder& World::recorder() {
  return *parts_->recorder;
}

c10d::Store* World::store() {
  return parts_->store.get();
}

}  // namespace trireme::comm
