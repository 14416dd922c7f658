// The handle of an operation that Gloo carries out: waits, looks at the failure board while it
// waits, and turns a deadline or a broken connection into the error that names the culprit.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <torch/csrc/distributed/c10d/Work.hpp>
#include <vector>

#include "trireme/comm/group.h"
#include "trireme/comm/liveness.h"

namespace trireme::comm {

// How long a broken connection waits for the news of who broke it.
inline constexpr std::chrono::milliseconds kNewsTime{1000};

// What all operations of a group share; outlives the group while operations are held.
struct GlooShared {
  std::shared_ptr<Liveness> liveness;
  std::vector<int> ranks;
  std::chrono::milliseconds timeout;
  std::atomic<bool> broken = false;  // an operation was given up: Gloo may still be in it

  // Each throws the run_error of the operation under `ticket`: for a failure that is known,
  [[noreturn]] void fail(const Failure& failure, const FlightRecorder::Ticket& ticket);
  // for one that took `patience` deadlines,
  [[noreturn]] void fail_deadline(const FlightRecorder::Ticket& ticket, int patience);
  // for a connection that broke: the liveness ring knows in a moment which rank it was.
  [[noreturn]] void fail_broken(const FlightRecorder::Ticket& ticket);
  // Throws when a failure of the job is known.
  void check_alive(const FlightRecorder::Ticket& ticket);
};

// `finish` runs once, in wait(), when Gloo is done: it copies the result to where it belongs.
// A collective may take `patience` deadlines.
WorkPtr collective_work(std::shared_ptr<GlooShared> shared, FlightRecorder::Ticket ticket,
                        std::function<void()> finish, c10d::Work& gloo, int patience);
WorkPtr point_to_point_work(std::shared_ptr<GlooShared> shared, FlightRecorder::Ticket ticket,
                            std::function<void()> finish, c10::intrusive_ptr<c10d::Work> gloo);

}  // namespace trireme::comm
