// SIGTERM and SIGINT as a flag: the trainer finishes its step, saves and leaves. A second signal of
// the kind ends the process at once, as it would have without us.
//
//   const StopSignal stop;                 // first thing in main, before the first step
//   train(..., {.stop = &stop.flag()});
#pragma once

#include <signal.h>

#include <array>
#include <atomic>

namespace trireme::train {

// One at a time in a process; the handlers before it come back with its end.
class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  const std::atomic<bool>& flag() const;

 private:
  std::array<struct sigaction, 2> before_{};
};

}  // namespace trireme::train
