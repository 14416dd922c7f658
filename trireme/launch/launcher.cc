#include "trireme/launch/launcher.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <filesystem>

#include "trireme/base/error.h"
#include "trireme/comm/store.h"
#include "trireme/launch/child.h"
#include "trireme/launch/job.h"
#include "trireme/launch/signals.h"

namespace trireme::launch {
namespace {

struct Endpoint {
  std::string host;
  int port = 0;
};

Endpoint parse_endpoint(const std::string& text) {
  const size_t colon = text.rfind(':');
  int port = 0;
  if (colon != std::string::npos && colon > 0) {
    const char* begin = text.data() + colon + 1;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(begin, end, port);
    port = error == std::errc() && stop == end ? port : 0;
  }
  if (port < 1 || port > 65535) {
    throw input_error("--rdzv-endpoint '", text,
                      "': expected HOST:PORT, an address of node 0 and a free port there");
  }
  std::string host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {  // [::1]:29500
    host = host.substr(1, host.size() - 2);
  }
  return {host, port};
}

void check(const LaunchOptions& o) {
  if (o.ranks < 1 || o.nodes < 1) {
    throw input_error(
        "launch: the number of ranks (-n) and of nodes (--nnodes) must be at least 1");
  }
  if (o.node_rank < 0 || o.node_rank >= o.nodes) {
    throw input_error("launch: --node-rank ", o.node_rank, " with --nnodes ", o.nodes,
                      ": expected 0 to ", o.nodes - 1);
  }
  if (o.nodes > 1 && o.rendezvous.empty()) {
    throw input_error(
        "launch: --nnodes ", o.nodes,
        " needs --rdzv-endpoint HOST:PORT, the same on all nodes: an address of node 0");
  }
  if (o.command.empty()) {
    throw input_error(
        "launch: no command; say what to run behind --, as in: trireme launch -n 2 -- train "
        "run.toml");
  }
}

std::string choose_token(const LaunchOptions& o, const comm::Environment& base) {
  if (!o.token.empty()) {
    return o.token;
  }
  if (const auto it = base.find("TRIREME_JOB_TOKEN"); it != base.end() && !it->second.empty()) {
    return it->second;
  }
  if (o.nodes > 1) {
    throw input_error(
        "launch: several nodes need a job token: set TRIREME_JOB_TOKEN to the same value on all of "
        "them");
  }
  return comm::random_token();
}

std::vector<std::string> arguments(const LaunchOptions& o, const comm::Environment& base) {
  std::vector<std::string> argv = o.command;
  const bool own =
      std::find(o.own_commands.begin(), o.own_commands.end(), argv[0]) != o.own_commands.end();
  if (own) {
    argv.insert(argv.begin(), std::filesystem::read_symlink("/proc/self/exe").string());
  } else {
    const auto path = base.find("PATH");
    argv[0] = find_program(argv[0], path == base.end() ? "/usr/bin:/bin" : path->second);
  }
  return argv;
}

}  // namespace

comm::Environment rank_environment(const LaunchOptions& options, int local_rank,
                                   const std::string& master_addr, int master_port,
                                   const comm::Environment& base) {
  comm::Environment env = base;
  std::erase_if(env, [](const auto& entry) { return entry.first.starts_with("TORCHELASTIC_"); });
  env["RANK"] = std::to_string(options.node_rank * options.ranks + local_rank);
  env["WORLD_SIZE"] = std::to_string(options.nodes * options.ranks);
  env["LOCAL_RANK"] = std::to_string(local_rank);
  env["LOCAL_WORLD_SIZE"] = std::to_string(options.ranks);
  env["MASTER_ADDR"] = master_addr;
  env["MASTER_PORT"] = std::to_string(master_port);
  env["TRIREME_STORE"] = "launcher";
  env["TRIREME_JOB_TOKEN"] = options.token;
  const int cores = static_cast<int>(comm::available_cpus().size());
  env.emplace("OMP_NUM_THREADS", std::to_string(comm::threads_per_rank(
                                     cores, comm::cgroup_cpu_limit(), options.ranks, "")));
  return env;
}

int launch(const LaunchOptions& given) {
  check(given);
  LaunchOptions options = given;
  const comm::Environment base = comm::process_environment();
  options.token = choose_token(options, base);
  const std::vector<std::string> argv = arguments(options, base);
  Endpoint master =
      options.rendezvous.empty() ? Endpoint{"127.0.0.1", 0} : parse_endpoint(options.rendezvous);
  const Signals signals;  // before the store's thread, which inherits the mask
  std::unique_ptr<comm::StoreServer> store;
  if (options.node_rank == 0) {
    const std::string address = options.nodes == 1 ? master.host : "";
    comm::Fd listener =
        comm::listen_on(address, master.port, "choose another with --rdzv-endpoint HOST:PORT");
    store = std::make_unique<comm::StoreServer>(std::move(listener), address, "", options.token);
    master.port = store->port();
  }
  const int cores = static_cast<int>(comm::available_cpus().size());
  if (options.ranks > cores) {
    std::fprintf(stderr, "trireme launch: %d ranks share %d core(s); they will take turns\n",
                 options.ranks, cores);
  }
  Job job(options, signals);
  for (int r = 0; r < options.ranks; ++r) {
    const bool piped = options.node_rank > 0 || r > 0;
    job.start(r, {argv, rank_environment(options, r, master.host, master.port, base), piped});
  }
  return job.run();
}

}  // namespace trireme::launch
