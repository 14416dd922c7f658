// The signals that the launcher handles, read from a descriptor instead of caught.
#pragma once

#include <sys/signalfd.h>

#include <csignal>
#include <optional>

#include "trireme/comm/sockets.h"

namespace trireme::launch {

// Takes SIGCHLD, SIGINT, SIGTERM and SIGHUP, without those that the process inherited as ignored
// (nohup), and ignores SIGPIPE; as it was before when it ends. Make it before the process has
// threads, which inherit what is blocked.
class Signals {
 public:
  Signals();
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // Readable when there is a signal.
  int descriptor() const { return fd_.get(); }
  // The next one; nothing when there is none.
  std::optional<signalfd_siginfo> next() const;

 private:
  sigset_t before_{};
  void (*pipe_before_)(int) = nullptr;
  comm::Fd fd_;
};

}  // namespace trireme::launch
