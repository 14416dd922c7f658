#include "trireme/launch/signals.h"

#include <unistd.h>

namespace trireme::launch {
namespace {

bool is_ignored(int sig) {
  struct sigaction action {};
  sigaction(sig, nullptr, &action);
  return action.sa_handler == SIG_IGN;
}

}  // namespace

Signals::Signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  for (const int sig : {SIGINT, SIGTERM, SIGHUP}) {
    // Once blocked, an ignored signal would come out of the descriptor all the same.
    if (!is_ignored(sig)) sigaddset(&set, sig);
  }
  sigprocmask(SIG_BLOCK, &set, &before_);
  pipe_before_ = std::signal(SIGPIPE, SIG_IGN);
  fd_ = comm::Fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

Signals::~Signals() {
  std::signal(SIGPIPE, pipe_before_);
  sigprocmask(SIG_SETMASK, &before_, nullptr);
}

std::optional<signalfd_siginfo> Signals::next() const {
  signalfd_siginfo info{};
  return read(fd_.get(), &info, sizeof(info)) == sizeof(info) ? std::optional(info) : std::nullopt;
}

}  // namespace trireme::launch
