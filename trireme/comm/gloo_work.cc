#include "trireme/comm/gloo_work.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <condition_variable>
#include <mutex>

#include "trireme/base/error.h"

namespace trireme::comm {
namespace {

using Clock = std::chrono::steady_clock;
using Millis = std::chrono::milliseconds;

// How long a waiting operation goes without looking at the failure board.
constexpr Millis kLookTime{20};

// The part of an operation that Gloo's thread touches.
struct Completion {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  bool failed = false;
};

class GlooWork : public Work {
 public:
  GlooWork(std::shared_ptr<GroupFaults> faults, FlightRecorder::Ticket ticket,
           std::function<void()> finish, int patience)
      : faults_(std::move(faults)),
        ticket_(ticket),
        finish_(std::move(finish)),
        patience_(patience),
        deadline_(Clock::now() + patience * faults_->timeout) {}

  void wait() override {
    if (finished_) {
      return;
    }
    {
      const BlockedTime blocked(*faults_->liveness->recorder());
      wait_for_gloo();
    }
    const at::NoGradGuard no_grad;
    finish_();
    finish_ = nullptr;  // lets the staging copy go
    finished_ = true;
  }

 protected:
  virtual void wait_for_gloo() = 0;

  std::shared_ptr<GroupFaults> faults_;
  FlightRecorder::Ticket ticket_;
  std::function<void()> finish_;
  int patience_;  // deadlines that it may take
  Clock::time_point deadline_;
  bool finished_ = false;
};

class CollectiveWork : public GlooWork {
 public:
  CollectiveWork(std::shared_ptr<GroupFaults> faults, FlightRecorder::Ticket ticket,
                 std::function<void()> finish, c10d::Work& gloo, int patience)
      : GlooWork(std::move(faults), ticket, std::move(finish), patience) {
    // The callback may come late or never, so it holds no more than it needs.
    gloo.getFuture()->addCallback(
        [completion = completion_, ticket,
         recorder = faults_->liveness->recorder()](c10::ivalue::Future& future) {
          if (!future.hasError()) {
            recorder->end(ticket);
          }
          {
            const std::lock_guard lock(completion->mutex);
            completion->done = true;
            completion->failed = future.hasError();
          }
          completion->changed.notify_all();
        });
  }

  bool done() override {
    const std::lock_guard lock(completion_->mutex);
    return completion_->done && !completion_->failed;
  }

 protected:
  void wait_for_gloo() override {
    std::unique_lock lock(completion_->mutex);
    while (!completion_->done) {
      if (const auto failure = faults_->liveness->board().get()) {
        faults_->fail(*failure, ticket_);
      }
      const auto now = Clock::now();
      if (now >= deadline_) {
        lock.unlock();
        faults_->fail_deadline(ticket_, patience_);
      }
      if (faults_->gave_up()) {
        lock.unlock();
        faults_->fail_broken(ticket_);
      }
      completion_->changed.wait_until(lock, std::min(deadline_, now + kLookTime));
    }
    if (completion_->failed) {
      lock.unlock();
      faults_->fail_broken(ticket_);
    }
  }

 private:
  std::shared_ptr<Completion> completion_ = std::make_shared<Completion>();
};

// Gloo's send and recv have no future; they can be aborted.
class PointToPointWork : public GlooWork {
 public:
  PointToPointWork(std::shared_ptr<GroupFaults> faults, FlightRecorder::Ticket ticket,
                   std::function<void()> finish, c10::intrusive_ptr<c10d::Work> gloo)
      : GlooWork(std::move(faults), ticket, std::move(finish), /*patience=*/1),
        gloo_(std::move(gloo)) {}

  bool done() override { return finished_; }

 protected:
  void wait_for_gloo() override {
    FailureBoard& board = faults_->liveness->board();
    const int id = board.subscribe([gloo = gloo_] { gloo->abort(); });
    bool arrived = false;
    try {
      const auto left = std::chrono::duration_cast<Millis>(deadline_ - Clock::now());
      arrived = gloo_->wait(std::max(left, Millis(1)));
    } catch (const std::exception&) {
      arrived = false;  // a broken connection or the deadline
    }
    board.unsubscribe(id);
    if (arrived) {
      faults_->liveness->recorder()->end(ticket_);
      return;
    }
    faults_->check_alive(ticket_);
    if (Clock::now() >= deadline_) {
      faults_->fail_deadline(ticket_, patience_);
    }
    faults_->fail_broken(ticket_);
  }

 private:
  c10::intrusive_ptr<c10d::Work> gloo_;
};

}  // namespace

WorkPtr collective_work(std::shared_ptr<GroupFaults> faults, FlightRecorder::Ticket ticket,
                        std::function<void()> finish, c10d::Work& gloo, int patience) {
  return std::make_shared<CollectiveWork>(std::move(faults), ticket, std::move(finish), gloo,
                                          patience);
}

WorkPtr point_to_point_work(std::shared_ptr<GroupFaults> faults, FlightRecorder::Ticket ticket,
                            std::function<void()> finish, c10::intrusive_ptr<c10d::Work> gloo) {
  return std::make_shared<PointToPointWork>(std::move(faults), ticket, std::move(finish),
                                            std::move(gloo));
}

}  // namespace trireme::comm
