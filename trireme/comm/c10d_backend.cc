#include "trireme/comm/c10d_backend.h"

#include <ATen/ATen.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <utility>

#include "trireme/base/error.h"

namespace trireme::comm {
namespace {

using c10::ivalue::Future;
using C10dWork = c10::intrusive_ptr<c10d::Work>;
using Tensors = std::vector<at::Tensor>;

ReduceOp our_op(const c10d::ReduceOp& op) {
  if (op == c10d::ReduceOp::SUM) return ReduceOp::kSum;
  if (op == c10d::ReduceOp::AVG) return ReduceOp::kAvg;
  if (op == c10d::ReduceOp::MIN) return ReduceOp::kMin;
  if (op == c10d::ReduceOp::MAX) return ReduceOp::kMax;
  throw run_error("c10d: a reduction that is not sum, avg, min or max");
}

at::Tensor& only(Tensors& tensors) {
  if (tensors.size() != 1) {
    throw run_error("c10d: ", tensors.size(), " tensors in one operation; give one");
  }
  return tensors[0];
}

// Over when its future is.
class FutureWork : public c10d::Work {
 public:
  FutureWork(int rank, c10d::OpType type, Tensors results)
      : c10d::Work(rank, type),
        results_(std::move(results)),
        future_(c10::make_intrusive<Future>(c10::ListType::create(c10::TensorType::get()))) {}

  bool isCompleted() override { return future_->completed(); }
  bool isSuccess() const override { return future_->completed() && !future_->hasError(); }
  std::exception_ptr exception() const override {
    return future_->hasError() ? future_->exception_ptr() : nullptr;
  }
  Tensors result() override { return results_; }
  bool wait(std::chrono::milliseconds) override {
    future_->waitAndThrow();
    return true;
  }
  c10::intrusive_ptr<Future> getFuture() override { return future_; }

  void finish_with(const WorkPtr& work) {
    try {
      work->wait();
      future_->markCompleted(c10::IValue(results_));
    } catch (...) {
      future_->setError(std::current_exception());
    }
  }

 private:
  Tensors results_;
  c10::intrusive_ptr<Future> future_;
};

// A result is in place only when somebody has waited for it, and torch waits for futures that
// somebody completes: so a thread waits for the operations, in their order.
class C10dBackend : public c10d::Backend {
 public:
  explicit C10dBackend(Group& group)
      : c10d::Backend(group.rank(), group.size()), group_(group), thread_([this] { run(); }) {}
  ~C10dBackend() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  const std::string getBackendName() const override { return "trireme"; }

  C10dWork broadcast(Tensors& tensors, const c10d::BroadcastOptions& options) override {
    at::Tensor& buffer = only(tensors);
    return start(c10d::OpType::BROADCAST, tensors,
                 group_.broadcast(buffer, static_cast<int>(options.rootRank), "c10d broadcast"));
  }
  C10dWork allreduce(Tensors& tensors, const c10d::AllreduceOptions& options) override {
    at::Tensor& buffer = only(tensors);
    return start(c10d::OpType::ALLREDUCE, tensors,
                 group_.all_reduce(buffer, our_op(options.reduceOp), "c10d allreduce"));
  }
  C10dWork _allgather_base(at::Tensor& out, at::Tensor& in,
                           const c10d::AllgatherOptions&) override {
    return start(c10d::OpType::_ALLGATHER_BASE, {out},
                 group_.all_gather(out, in, "c10d _allgather_base"));
  }
  C10dWork _reduce_scatter_base(at::Tensor& out, at::Tensor& in,
                                const c10d::ReduceScatterOptions& options) override {
    return start(
        c10d::OpType::_REDUCE_SCATTER_BASE, {out},
        group_.reduce_scatter(out, in, our_op(options.reduceOp), "c10d _reduce_scatter_base"));
  }
  C10dWork alltoall_base(at::Tensor& out, at::Tensor& in, std::vector<int64_t>& out_sizes,
                         std::vector<int64_t>& in_sizes, const c10d::AllToAllOptions&) override {
    check_equal(out_sizes);
    check_equal(in_sizes);
    return start(c10d::OpType::ALLTOALL_BASE, {out},
                 group_.all_to_all(out, in, "c10d alltoall_base"));
  }
  C10dWork send(Tensors& tensors, int peer, int) override {
    at::Tensor& buffer = only(tensors);
    return start(c10d::OpType::SEND, tensors, group_.send(buffer, peer, "c10d send"));
  }
  C10dWork recv(Tensors& tensors, int peer, int) override {
    at::Tensor& buffer = only(tensors);
    return start(c10d::OpType::RECV, tensors, group_.recv(buffer, peer, "c10d recv"));
  }
  // Blocks: when it returns, all have come.
  C10dWork barrier(const c10d::BarrierOptions&) override {
    group_.barrier("c10d barrier");
    return start(c10d::OpType::BARRIER, {}, finished_work());
  }

 private:
  struct Pending {
    c10::intrusive_ptr<FutureWork> outer;
    WorkPtr inner;
  };

  static void check_equal(const std::vector<int64_t>& sizes) {
    for (const int64_t size : sizes) {
      if (size != sizes[0]) throw run_error("c10d: alltoall_base with unequal parts");
    }
  }

  C10dWork start(c10d::OpType type, Tensors results, WorkPtr inner) {
    auto outer = c10::make_intrusive<FutureWork>(getRank(), type, std::move(results));
    {
      const std::lock_guard lock(mutex_);
      pending_.push_back({outer, std::move(inner)});
    }
    changed_.notify_all();
    return outer;
  }

  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return stop_ || !pending_.empty(); });
      if (pending_.empty()) return;  // stopped, and nothing is left
      const Pending next = std::move(pending_.front());
      pending_.pop_front();
      lock.unlock();
      next.outer->finish_with(next.inner);
      lock.lock();
    }
  }

  Group& group_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Pending> pending_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace

c10::intrusive_ptr<c10d::ProcessGroup> make_process_group(Group& group) {
  auto process_group = c10::make_intrusive<c10d::ProcessGroup>(group.rank(), group.size());
  constexpr auto kCustom = c10d::ProcessGroup::BackendType::CUSTOM;
  process_group->setBackend(
      c10::DeviceType::CPU, kCustom,
      c10::intrusive_ptr<c10d::Backend>(c10::make_intrusive<C10dBackend>(group)));
  process_group->setDefaultBackend(kCustom);
  return process_group;
}

}  // namespace trireme::comm
