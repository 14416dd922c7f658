#include "trireme/train/stop_signal.h"

#include <stdexcept>

namespace trireme::train {
namespace {

constexpr std::array<int, 2> kSignals = {SIGTERM, SIGINT};

// A signal handler reaches nothing but such variables.
std::atomic<bool> stop_requested{false};
std::atomic<bool> in_use{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void on_signal(int signal) {
  if (stop_requested.exchange(true)) {
    ::signal(signal, SIG_DFL);
    ::raise(signal);
  }
}

}  // namespace

StopSignal::StopSignal() {
  if (in_use.exchange(true)) throw std::logic_error("a StopSignal exists already");
  stop_requested.store(false);
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;  // waits for messages and files go on
  for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &action, &before_[i]);
}

StopSignal::~StopSignal() {
  for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
  in_use.store(false);
}

const std::atomic<bool>& StopSignal::flag() const {
  return stop_requested;
}

}  // namespace trireme::train
