// A child process of a test: its output, its end within a time, signals to it. Killed when the test
// ends.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <fstream>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "trireme/comm/rank_env.h"
#include "trireme/launch/child.h"

namespace trireme::launch {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Processes under the thread sanitizer are that much slower to start.
#if defined(__SANITIZE_THREAD__)
constexpr double kPatience = 10;
#else
constexpr double kPatience = 1;
#endif

template <class Condition>
bool within(double seconds, const Condition& condition) {
  const auto start = Clock::now();
  while (!condition()) {
    if (seconds_since(start) > kPatience * seconds) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

class Process {
 public:
  explicit Process(const std::vector<std::string>& argv, const comm::Environment& extra = {}) {
    comm::Environment env = comm::process_environment();
    env.erase("OMP_NUM_THREADS");
    for (const auto& [name, value] : extra) {
      env[name] = value;
    }
    child_ = spawn({argv, env, true});
    readers_.emplace_back([this] { read_all(child_.out.get(), out_); });
    readers_.emplace_back([this] { read_all(child_.err.get(), err_); });
  }
  ~Process() {
    if (!ended_) {
      signal(SIGKILL);
      waitpid(child_.pid, nullptr, 0);
    }
    for (std::thread& reader : readers_) {
      reader.join();
    }
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  pid_t pid() const { return child_.pid; }
  void signal(int sig) const { kill(child_.pid, sig); }
  std::string out() const { return copy(out_); }
  std::string err() const { return copy(err_); }
  std::string all() const { return "stdout:\n" + out() + "stderr:\n" + err(); }
  bool has_ended() {
    int status = 0;
    if (!ended_ && waitpid(child_.pid, &status, WNOHANG) == child_.pid) {
      ended_ = true;
      code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return ended_;
  }
  // The exit code (128 + the signal that killed it), or -1 when it does not end in time. Its output
  // is complete then.
  int wait(double seconds) {
    if (!within(seconds, [&] { return has_ended(); })) {
      return -1;
    }
    for (std::thread& reader : readers_) {
      reader.join();
    }
    readers_.clear();
    return code_;
  }

 private:
  void read_all(int fd, std::string& to) const {
    char buffer[4096];
    ssize_t n = 0;
    while ((n = read(fd, buffer, sizeof(buffer))) > 0 || (n < 0 && errno == EINTR)) {
      const std::lock_guard lock(mutex_);
      to.append(buffer, n > 0 ? static_cast<size_t>(n) : 0);
    }
  }
  std::string copy(const std::string& text) const {
    const std::lock_guard lock(mutex_);
    return text;
  }

  Child child_;
  std::vector<std::thread> readers_;
  mutable std::mutex mutex_;
  std::string out_;
  std::string err_;
  bool ended_ = false;
  int code_ = -1;
};

constexpr const char* kLauncher = TRIREME_BINARY_DIR "/launch_main";
constexpr const char* kRank = TRIREME_BINARY_DIR "/comm_rank";

// launch_main `ranks` `rdzv` comm_rank `arguments`
inline std::vector<std::string> job(int ranks, std::vector<std::string> arguments,
                                    const std::string& rdzv = "-") {
  std::vector<std::string> argv{kLauncher, std::to_string(ranks), rdzv, kRank};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  return argv;
}

// The pid in the line "ready RANK PID" of a job's output; 0 when it has not come.
inline pid_t ready_pid(const std::string& out, int rank) {
  const std::string key = "ready " + std::to_string(rank) + " ";
  const size_t at = out.find(key);
  return at == std::string::npos
             ? 0
             : static_cast<pid_t>(std::strtol(out.c_str() + at + key.size(), nullptr, 10));
}

// Running, stopped or a zombie.
inline bool exists(pid_t pid) {
  return kill(pid, 0) == 0;
}

}  // namespace trireme::launch
