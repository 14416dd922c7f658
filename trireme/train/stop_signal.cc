#include "trireme/train/stop_signal.h"

#include <ctime>
#include <stdexcept>

namespace trireme::train {
namespace {

constexpr std::array<int, 3> kSignals = {SIGTERM, SIGINT, SIGHUP};
constexpr int64_t kRepeatMs = 2000;

// A signal handler reaches nothing but such variables.
std::atomic<bool> stop_requested{false};
std::atomic<int64_t> first_ms{0};  // when the first signal came; 0: none has
std::atomic<bool> in_use{false};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int64_t>::is_always_lock_free);

void on_signal(int signal) {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);  // one of the few calls that a handler may make
  const int64_t now_ms = now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
  int64_t first = 0;
  if (first_ms.compare_exchange_strong(first, now_ms)) {
    stop_requested.store(true);
  } else if (now_ms - first >= kRepeatMs) {
    ::signal(signal, SIG_DFL);
    ::raise(signal);
  }
}

}  // namespace

StopSignal::StopSignal() {
  if (in_use.exchange(true)) throw std::logic_error("a StopSignal exists already");
  stop_requested.store(false);
  first_ms.store(0);
  struct sigaction action {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;  // waits for messages and files go on
  for (size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals[i], nullptr, &before_[i]);
    if (before_[i].sa_handler != SIG_IGN) ::sigaction(kSignals[i], &action, nullptr);
  }
}

StopSignal::~StopSignal() {
  for (size_t i = 0; i < kSignals.size(); ++i) ::sigaction(kSignals[i], &before_[i], nullptr);
  in_use.store(false);
}

const std::atomic<bool>& StopSignal::flag() const {
  return stop_requested;
}

}  // namespace trireme::train
