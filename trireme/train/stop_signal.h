// SIGTERM, SIGINT and SIGHUP as a flag: the trainer finishes its step, saves and leaves. A second
// signal ends the process at once, as it would have without us, unless it comes within 2 s of the
// first: whoever signals a whole process group (systemd, scancel, timeout) reaches a rank directly
// and once more through its launcher. A signal that was ignored stays so (nohup).
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
  std::array<struct sigaction, 3> before_{};
};

}  // namespace trireme::train
