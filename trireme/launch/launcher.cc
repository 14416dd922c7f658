#include "trireme/launch/launcher.h"

#include <poll.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>

#include "trireme/base/error.h"
#include "trireme/comm/store.h"
#include "trireme/launch/child.h"

namespace trireme::launch {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kInterrupted = static_cast<int>(ErrorKind::kInterrupted);

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
    throw input_error("--rdzv '", text,
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
    throw input_error("launch: --nnodes ", o.nodes,
                      " needs --rdzv HOST:PORT, the same on all nodes: an address of node 0");
  }
  if (o.command.empty()) {
    throw input_error(
        "launch: no command; say what to run behind --, as in: trireme launch -n 2 -- train "
        "run.toml");
  }
}

std::string random_token() {
  unsigned char bytes[16];
  if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes)) {
    throw run_error("the kernel gives no random bytes for the job token; set TRIREME_JOB_TOKEN");
  }
  std::string text;
  for (const unsigned char b : bytes) {
    char hex[3];
    std::snprintf(hex, sizeof(hex), "%02x", b);
    text += hex;
  }
  return text;
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
  return random_token();
}

// Blocks the signals that the launcher handles, and gives them through a descriptor.
class Signals {
 public:
  Signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int sig : {SIGCHLD, SIGINT, SIGTERM, SIGHUP}) {
      sigaddset(&set, sig);
    }
    sigprocmask(SIG_BLOCK, &set, &before_);
    pipe_before_ = std::signal(SIGPIPE, SIG_IGN);
    fd_ = comm::Fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  }
  ~Signals() {
    std::signal(SIGPIPE, pipe_before_);
    sigprocmask(SIG_SETMASK, &before_, nullptr);
  }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;
  int descriptor() const { return fd_.get(); }
  std::optional<signalfd_siginfo> next() const {
    signalfd_siginfo info{};
    return read(fd_.get(), &info, sizeof(info)) == sizeof(info) ? std::optional(info)
                                                                : std::nullopt;
  }

 private:
  sigset_t before_{};
  void (*pipe_before_)(int) = nullptr;
  comm::Fd fd_;
};

class Job {
 public:
  Job(const LaunchOptions& options, const Signals& signals)
      : options_(options), signals_(signals) {}
  ~Job() {  // when starting a rank threw
    send_all(SIGKILL);
    for (const Rank& r : ranks_) {
      if (r.running) {
        waitpid(r.pid, nullptr, 0);
      }
    }
  }
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  void start(int local_rank, const ChildSpec& spec) {
    Child child = spawn(spec);
    const int rank = options_.node_rank * options_.ranks + local_rank;
    ranks_.push_back({rank, child.pid, true});
    const std::string prefix = cat("[rank ", rank, "] ");
    if (spec.piped) {
      relays_.emplace_back(std::move(child.out), STDOUT_FILENO, prefix);
      relays_.emplace_back(std::move(child.err), STDERR_FILENO, prefix);
    }
  }

  int run() {
    while (running() > 0) {
      step();
    }
    for (LineRelay& relay : relays_) {
      relay.pump();
      relay.flush();
    }
    return job_exit_code(ends_);
  }

 private:
  struct Rank {
    int rank;
    pid_t pid;
    bool running;
  };

  template <class... Parts>
  static void say(const Parts&... parts) {
    const std::string line = cat("trireme launch: ", parts..., "\n");
    std::fwrite(line.data(), 1, line.size(), stderr);
    std::fflush(stderr);
  }

  int64_t running() const {
    return std::count_if(ranks_.begin(), ranks_.end(), [](const Rank& r) { return r.running; });
  }

  void send_all(int sig) const {
    for (const Rank& r : ranks_) {
      if (r.running) {
        kill(r.pid, sig);
      }
    }
  }

  void step() {
    std::vector<pollfd> events{{signals_.descriptor(), POLLIN, 0}};
    for (const LineRelay& relay : relays_) {
      events.push_back({relay.descriptor(), POLLIN, 0});
    }
    poll(events.data(), events.size(), time_to_next_ms());
    for (size_t i = relays_.size(); i-- > 0;) {
      if (events[i + 1].revents != 0 && !relays_[i].pump()) {
        relays_.erase(relays_.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
    while (const auto info = signals_.next()) {
      if (info->ssi_signo != SIGCHLD) {
        on_signal(static_cast<int>(info->ssi_signo), info->ssi_code == SI_KERNEL);
      }
    }
    reap();
    escalate();
  }

  void on_signal(int sig, bool from_terminal) {
    if (interrupted_) {
      say("a second signal: killing the ranks");
      send_all(SIGKILL);
      return;
    }
    interrupted_ = true;
    say(sigabbrev(sig), ": waiting for the ranks to save and stop (up to ", options_.save_within_s,
        " s; again to kill them)");
    if (!from_terminal) {  // the terminal has told the whole process group
      send_all(sig == SIGHUP ? SIGTERM : sig);
    }
    set_deadline(SIGKILL, options_.save_within_s);
  }

  static std::string sigabbrev(int sig) { return cat("SIG", sigabbrev_np(sig)); }

  void reap() {
    for (Rank& r : ranks_) {
      int status = 0;
      if (r.running && waitpid(r.pid, &status, WNOHANG) == r.pid) {
        r.running = false;
        ends_.push_back({r.rank, status});
        on_end(r, ends_.back());
      }
    }
  }

  void on_end(const Rank& rank, const RankEnd& end) {
    const bool first = !failing_ && !interrupted_;
    const bool saved = WIFEXITED(end.status) && WEXITSTATUS(end.status) == kInterrupted;
    if (first && end.failed()) {
      failing_ = true;
      say("rank ", rank.rank, " (pid ", rank.pid, ") ", end.what(),
          running() > 0 ? "; stopping the other ranks" : "");
      set_deadline(SIGTERM, options_.settle_s);
    } else if (first && saved) {
      interrupted_ = true;  // someone told a rank, not us; the ranks have agreed to stop
      set_deadline(SIGKILL, options_.save_within_s);
    }
  }

  void set_deadline(int sig, double seconds) {
    next_signal_ = sig;
    deadline_ = Clock::now() + std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
  }

  int time_to_next_ms() const {
    if (next_signal_ == 0) {
      return -1;
    }
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - Clock::now());
    return static_cast<int>(std::max<int64_t>(0, left.count() + 1));
  }

  void escalate() {
    if (next_signal_ == 0 || Clock::now() < deadline_ || running() == 0) {
      return;
    }
    send_all(next_signal_);
    if (next_signal_ == SIGTERM) {
      set_deadline(SIGKILL, options_.kill_after_s);
      return;
    }
    say("killed ", running(), " rank(s) that did not stop");
    next_signal_ = 0;
  }

  const LaunchOptions& options_;
  const Signals& signals_;
  std::vector<Rank> ranks_;
  std::vector<LineRelay> relays_;
  std::vector<RankEnd> ends_;
  bool failing_ = false;
  bool interrupted_ = false;
  int next_signal_ = 0;  // sent at deadline_; 0: none
  Clock::time_point deadline_;
};

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

bool RankEnd::failed() const {
  return !WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != kInterrupted);
}

std::string RankEnd::what() const {
  if (WIFEXITED(status)) {
    return cat("exited with code ", WEXITSTATUS(status));
  }
  const int sig = WTERMSIG(status);
  return cat("was killed by signal ", sig, " (", strsignal(sig),
             sig == SIGKILL ? "; by hand, or out of memory?)" : ")");
}

int job_exit_code(const std::vector<RankEnd>& ends) {
  int code = 0;
  for (const RankEnd& end : ends) {
    if (end.failed()) {
      return WIFEXITED(end.status) ? WEXITSTATUS(end.status) : static_cast<int>(ErrorKind::kRun);
    }
    code = std::max(code, WEXITSTATUS(end.status));
  }
  return code;
}

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
        comm::listen_on(address, master.port, "choose another with --rdzv HOST:PORT");
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
