#include "trireme/comm/store.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <thread>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "trireme/base/error.h"
#include "trireme/comm/foreign_error.h"

namespace trireme::comm {
namespace {

constexpr std::chrono::milliseconds kLookTime{100};
constexpr int kAloneLooks = 10;

// What the store shows of the token (FNV-1a, 64 bits).
std::string digest(const std::string& token) {
  uint64_t hash = 14695981039346656037ULL;
  for (const char c : token) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
  }
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

std::string token_key(const std::string& job) {
  return "trireme/" + job + "/token";
}

// Connections that the server at `port` has taken.
int64_t connections(int port) {
  int64_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int fd = std::stoi(entry.path().filename());
    sockaddr_storage peer{};
    socklen_t length = sizeof(peer);
    const bool connected = getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &length) == 0;
    if (connected && local_port(fd) == port) ++count;
  }
  return count;
}

// c10d would wait for its server too, but seconds longer and with a page of its own messages.
bool wait_for_listener(const RankEnv& env, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!connect_to(env.master_addr, env.master_port, timeout)) {
    if (std::chrono::steady_clock::now() > deadline) {
      return false;
    }
    std::this_thread::sleep_for(kLookTime);
  }
  return true;
}

// In the process of the store: serve as long as there are connections.
[[noreturn]] void serve(Fd listener, const std::string& address, const std::string& job,
                        const std::string& token, std::chrono::milliseconds patience) {
  setsid();
  prctl(PR_SET_NAME, "trireme-store");
  for (const int sig : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) {
    std::signal(sig, SIG_IGN);  // it goes when the ranks have gone, not before
  }
  // Keeps nothing of the rank open: not its output (a launcher waits for its end), not its sockets.
  const int null = open("/dev/null", O_RDWR);
  for (const int fd : {0, 1, 2}) {
    dup2(null, fd);
  }
  constexpr int kListener = 3;
  dup2(listener.release(), kListener);
  syscall(SYS_close_range, static_cast<unsigned>(kListener + 1), ~0U, 0U);
  try {
    const StoreServer server(Fd(kListener), address, job, token);
    constexpr int64_t kOwn = 1;  // the server is a client of itself
    const auto start = std::chrono::steady_clock::now();
    int alone = 0;  // looks since there was a client
    for (bool seen = false;;) {
      std::this_thread::sleep_for(kLookTime);
      alone = connections(server.port()) > kOwn ? 0 : alone + 1;
      seen = seen || alone == 0 || server.was_used();  // short runs come and go between two looks
      if (alone >= kAloneLooks && (seen || std::chrono::steady_clock::now() - start > patience)) {
        _exit(0);
      }
    }
  } catch (const std::exception&) {
    _exit(1);  // the ranks report that no store answers
  }
}

}  // namespace

StoreServer::StoreServer(Fd listener, const std::string& address, const std::string& job,
                         const std::string& token)
    : port_(local_port(listener.get())) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(port_);
  options.isServer = true;
  options.waitWorkers = false;
  options.useLibUV = false;
  options.masterListenFd = listener.release();
  store_ = c10::make_intrusive<c10d::TCPStore>(address.empty() ? "localhost" : address, options);
  store_->set(token_key(job), digest(token));
}

StoreServer::~StoreServer() = default;

bool StoreServer::was_used() const {
  constexpr int64_t kOwnKeys = 1;  // the token
  return store_->getNumKeys() > kOwnKeys;
}

c10d::Store& StoreServer::store() {
  return *store_;
}

void fork_store_process(Fd listener, const std::string& address, const std::string& job,
                        const std::string& token, std::chrono::milliseconds patience) {
  const pid_t child = fork();
  if (child < 0) {
    throw run_error(
        "cannot start the process of the store: fork failed (process limit? see ulimit -u)");
  }
  if (child == 0) {
    if (fork() == 0) {  // a grandchild: nobody here has to wait for it
      serve(std::move(listener), address, job, token, patience);
    }
    _exit(0);
  }
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
}

c10::intrusive_ptr<c10d::Store> connect_store(const RankEnv& env,
                                              std::chrono::milliseconds timeout) {
  const std::string where = cat(env.master_addr, ":", env.master_port);
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(env.master_port);
  options.waitWorkers = false;
  options.useLibUV = false;
  options.timeout = timeout;
  c10::intrusive_ptr<c10d::Store> store;
  std::string theirs;
  const std::string no_answer =
      cat("no store of this job answers at ", where, " within ",
          static_cast<double>(timeout.count()) / 1000,
          " s (MASTER_ADDR, MASTER_PORT; the ranks were started by ", env.started_by, "): ");
  if (!wait_for_listener(env, timeout)) {
    throw run_error(
        no_answer, "nobody listens there; see rank 0's output, and the firewall between the hosts");
  }
  try {
    const QuietC10d quiet;
    store = c10::make_intrusive<c10d::TCPStore>(env.master_addr, options);
    if (env.started_by == "torchrun" && env.rank == 0) {  // its store knows no token of ours
      store->set(token_key(env.job), digest(env.token));
    }
    store->wait({token_key(env.job)}, timeout);
    theirs = store->get_to_str(token_key(env.job));
  } catch (const std::exception& e) {
    throw run_error(no_answer, "what listens there is not it: ", first_line(e.what()));
  }
  if (theirs != digest(env.token)) {
    throw input_error("the store at ", where, " belongs to another job: TRIREME_JOB_TOKEN ",
                      env.token.empty() ? "is not set here" : "is not that job's",
                      "; give all ranks of a job the same token, or choose another MASTER_PORT");
  }
  return c10::make_intrusive<c10d::PrefixStore>("trireme/" + env.job + "/" + digest(env.token),
                                                store);
}

std::vector<std::string> gather(c10d::Store& store, const std::string& key, RankOf me,
                                const std::string& mine, std::chrono::milliseconds timeout) {
  store.set(cat(key, me.rank), mine);
  std::vector<std::string> keys;
  for (int r = 0; r < me.size; ++r) {
    keys.push_back(cat(key, r));
  }
  store.wait(keys, timeout);
  std::vector<std::string> all;
  for (const std::string& k : keys) {
    all.push_back(store.get_to_str(k));
  }
  return all;
}

std::string random_token() {
  unsigned char bytes[16];
  if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes)) {
    throw run_error("the kernel gives no random bytes for a token");
  }
  std::string text;
  for (const unsigned char b : bytes) {
    char hex[3];
    std::snprintf(hex, sizeof(hex), "%02x", b);
    text += hex;
  }
  return text;
}

}  // namespace trireme::comm
