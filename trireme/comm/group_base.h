// What the backends' groups share: who the ranks are, the record of their operations, checks of
// arguments, and the error that names the culprit.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/comm/flight_recorder.h"
#include "trireme/comm/group.h"
#include "trireme/comm/liveness.h"

namespace trireme::comm {

// How long an operation that broke waits for the news of who broke it: a death is known in
// milliseconds. After that the ranks are asked until the answer is certain, or this long.
inline constexpr std::chrono::milliseconds kNewsTime{250};
inline constexpr std::chrono::milliseconds kCertaintyTime{750};

// How a group's operations fail. Outlives the group while operations are held.
struct GroupFaults {
  std::shared_ptr<Liveness> liveness;
  std::vector<int> ranks;
  std::chrono::milliseconds timeout;
  std::atomic<bool> broken = false;  // an operation was given up: the backend may still be in it

  // Whether the engine below can move no more bytes, though nobody is known to have died.
  std::function<bool()> gave_up = [] { return false; };

  bool failed() const { return broken || gave_up() || liveness->board().reported(); }
  // Each throws the run_error of the operation under `ticket`: for a failure that is known,
  [[noreturn]] void fail(const Failure& failure, const FlightRecorder::Ticket& ticket);
  // for one that took `patience` deadlines,
  [[noreturn]] void fail_deadline(const FlightRecorder::Ticket& ticket, int patience);
  // for ranks that are in different operations,
  [[noreturn]] void fail_mismatch(const FlightRecorder::Ticket& ticket);
  // for a connection that broke: a rank that died, or operations that do not fit together.
  [[noreturn]] void fail_broken(const FlightRecorder::Ticket& ticket);
  // Throws when a failure of the job is known, or becomes known within `time`, or when the engine
  // below gave up.
  void check_alive(const FlightRecorder::Ticket& ticket,
                   std::chrono::milliseconds time = std::chrono::milliseconds(0));
};

class GroupBase : public Group {
 public:
  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(faults_->ranks.size()); }

 protected:
  using Ticket = FlightRecorder::Ticket;
  // Of a call that is refused before it becomes an operation.
  struct CallName {
    const char* kind;
    std::string_view tag;
  };

  // `ranks`: the members' world ranks, ascending; this rank is the liveness's.
  GroupBase(std::string name, const std::vector<int>& ranks, double timeout_s,
            std::shared_ptr<Liveness> liveness);

  FlightRecorder& recorder() const { return *faults_->liveness->recorder(); }
  // Calls `meet`, which finds the other ranks: what it throws becomes the error that names the one
  // that is missing.
  template <class Meet>
  void connect(const Meet& meet) {
    const auto group = recorder().add_group(name_ + " (connecting)", faults_->ranks);
    const Ticket ticket =
        recorder().begin(group, {.kind = OperationKind::kConnect, .tag = "start"});
    try {
      meet();
    } catch (const std::exception&) {
      faults_->fail_broken(ticket);
    }
    recorder().end(ticket);
  }
  Ticket begin(OperationKind kind, std::string_view tag, const at::Tensor& tensor, int peer = -1);
  // The Work of an operation on no values.
  WorkPtr nothing(const Ticket& ticket);

  template <class... Parts>
  Error refused(const CallName& call, const Parts&... parts) const {
    return run_error(call.kind, " '", call.tag, "' of ", name_, parts...);
  }
  void check_rank(int rank, const CallName& call) const;
  void check_sizes(const at::Tensor& whole, const at::Tensor& part, const CallName& call) const;
  void check_exchange(const at::Tensor& out, const at::Tensor& in, const CallName& call) const;
  void check_average(ReduceOp op, const at::Tensor& tensor, const CallName& call) const;

  const std::string name_;
  const std::shared_ptr<GroupFaults> faults_;
  FlightRecorder::GroupId id_;
  int rank_ = 0;
};

}  // namespace trireme::comm
