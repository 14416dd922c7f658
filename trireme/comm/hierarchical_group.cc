#include "trireme/comm/hierarchical_group.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "trireme/comm/flight_recorder.h"
#include "trireme/comm/group_base.h"

namespace trireme::comm {
namespace {

// Chunks whose slices are between hosts at once.
constexpr size_t kUnderWay = 4;

// Something to do, and what came of it.
class Task {
 public:
  explicit Task(std::function<void()> run) : run_(std::move(run)) {}
  void carry_out() {
    std::exception_ptr error;
    try {
      run_();
    } catch (...) {
      error = std::current_exception();
    }
    run_ = nullptr;
    {
      const std::lock_guard lock(mutex_);
      error_ = error;
      over_ = true;
    }
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return over_; });
    if (error_) std::rethrow_exception(error_);
  }
  bool over() {
    const std::lock_guard lock(mutex_);
    return over_;
  }

 private:
  std::function<void()> run_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::exception_ptr error_;
};

// Carries tasks out, one after the other, on a thread of its own; at its end those that are left.
class Worker {
 public:
  Worker() : thread_([this] { work(); }) {}
  ~Worker() {
    {
      const std::lock_guard lock(mutex_);
      end_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void add(std::shared_ptr<Task> task) {
    {
      const std::lock_guard lock(mutex_);
      tasks_.push_back(std::move(task));
    }
    changed_.notify_all();
  }

 private:
  void work() {
    const at::NoGradGuard no_grad;
    BlockedTime::exempt_this_thread();
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return end_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      const auto task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task->carry_out();
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Task>> tasks_;
  bool end_ = false;
  std::thread thread_;
};

// Deadlines and failures are those of the operations that it consists of.
class HierarchicalWork : public Work {
 public:
  HierarchicalWork(std::shared_ptr<FlightRecorder> recorder, const FlightRecorder::Ticket& ticket,
                   std::shared_ptr<Task> task)
      : recorder_(std::move(recorder)), ticket_(ticket), task_(std::move(task)) {}
  void wait() override {
    {
      const BlockedTime blocked(*recorder_);
      task_->wait();
    }
    if (!ended_) recorder_->end(ticket_);
    ended_ = true;
  }
  bool done() override { return task_->over(); }

 private:
  std::shared_ptr<FlightRecorder> recorder_;
  FlightRecorder::Ticket ticket_;
  std::shared_ptr<Task> task_;
  bool ended_ = false;
};

class HierarchicalGroup : public GroupBase {
 public:
  HierarchicalGroup(HierarchicalParts parts, std::shared_ptr<Liveness> liveness)
      : GroupBase(parts.name, parts.ranks, parts.timeout_s, std::move(liveness)),
        parts_(std::move(parts)),
        places_(parts_.ranks.size()) {
    const size_t local = parts_.hosts[0].size();
    for (size_t place = 0; place < local; ++place) {
      for (size_t host = 0; host < parts_.hosts.size(); ++host) {
        const int r = parts_.hosts[host][place];
        by_place_.push_back(r);
        places_[static_cast<size_t>(r)] = {static_cast<int>(host), static_cast<int>(place)};
      }
    }
  }

  at::Tensor empty(int64_t numel, at::ScalarType dtype) override {
    return parts_.local->empty(numel, dtype);
  }

  WorkPtr all_reduce(at::Tensor buffer, ReduceOp op, std::string_view tag) override {
    check_average(op, buffer, {"all_reduce", tag});
    return start(OperationKind::kAllReduce, tag, buffer,
                 [this, buffer, op, tag = std::string(tag)] {
                   const at::Tensor flat = buffer.contiguous().view({-1});
                   reduce_in_chunks(flat, op, tag);
                   if (!flat.is_alias_of(buffer))
                     at::Tensor(buffer).copy_(flat.view(buffer.sizes()));
                 });
  }

  WorkPtr broadcast(at::Tensor buffer, int root, std::string_view tag) override {
    check_rank(root, {"broadcast", tag});
    return start(OperationKind::kBroadcast, tag, buffer,
                 [this, buffer, root, tag = std::string(tag)] {
                   const Place from = places_[static_cast<size_t>(root)];
                   if (place().local == from.local)
                     parts_.across->broadcast(buffer, from.host, tag)->wait();
                   parts_.local->broadcast(buffer, from.local, tag)->wait();
                 });
  }

  WorkPtr all_gather(at::Tensor out, at::Tensor in, std::string_view tag) override {
    check_sizes(out, in, {"all_gather", tag});
    return start(OperationKind::kAllGather, tag, out, [this, out, in, tag = std::string(tag)] {
      const int64_t part = in.numel(), hosts = parts_.across->size();
      at::Tensor mine = parts_.local->empty(hosts * part, in.scalar_type());
      parts_.across->all_gather(mine, in.reshape({-1}), tag)->wait();
      at::Tensor all = at::empty({size(), part}, in.options().requires_grad(false));
      parts_.local->all_gather(all, mine, tag)->wait();
      at::Tensor ordered = at::empty_like(all);
      ordered.index_copy_(0, order(), all);
      at::Tensor(out).copy_(ordered.view(out.sizes()));
    });
  }

  WorkPtr reduce_scatter(at::Tensor out, at::Tensor in, ReduceOp op,
                         std::string_view tag) override {
    check_average(op, in, {"reduce_scatter", tag});
    check_sizes(in, out, {"reduce_scatter", tag});
    return start(OperationKind::kReduceScatter, tag, in,
                 [this, out, in, op, tag = std::string(tag)] {
                   const int64_t part = out.numel(), hosts = parts_.across->size();
                   at::Tensor ordered = parts_.local->empty(in.numel(), in.scalar_type());
                   at::Tensor rows = ordered.view({size(), part});
                   at::index_select_out(rows, in.reshape({size(), part}), 0, order());
                   at::Tensor mine = at::empty({hosts * part}, out.options().requires_grad(false));
                   parts_.local->reduce_scatter(mine, ordered, summed(op), tag)->wait();
                   at::Tensor result = at::empty({part}, out.options().requires_grad(false));
                   parts_.across->reduce_scatter(result, mine, summed(op), tag)->wait();
                   if (op == ReduceOp::kAvg) result.div_(size());
                   at::Tensor(out).copy_(result.view(out.sizes()));
                 });
  }

  WorkPtr all_to_all(at::Tensor out, at::Tensor in, std::string_view tag) override {
    return parts_.flat->all_to_all(std::move(out), std::move(in), tag);
  }
  WorkPtr send(at::Tensor buffer, int peer, std::string_view tag) override {
    check_rank(peer, {"send", tag});
    const Place to = places_[static_cast<size_t>(peer)];
    return to.host == place().host ? parts_.local->send(std::move(buffer), to.local, tag)
                                   : parts_.flat->send(std::move(buffer), peer, tag);
  }
  WorkPtr recv(at::Tensor buffer, int peer, std::string_view tag) override {
    check_rank(peer, {"recv", tag});
    const Place from = places_[static_cast<size_t>(peer)];
    return from.host == place().host ? parts_.local->recv(std::move(buffer), from.local, tag)
                                     : parts_.flat->recv(std::move(buffer), peer, tag);
  }

  void barrier(std::string_view tag) override {
    meet(tag, [this, tag = std::string(tag)] {
      parts_.local->barrier(tag);
      parts_.across->barrier(tag);
    });
  }
  void patient_barrier(std::string_view tag) override {
    meet(tag, [this, tag = std::string(tag)] {
      parts_.local->patient_barrier(tag);
      parts_.across->patient_barrier(tag);
    });
  }

 private:
  struct Place {
    int host, local;
  };
  Place place() const { return places_[static_cast<size_t>(rank_)]; }
  at::Tensor order() const { return at::tensor(by_place_, at::kLong); }
  static ReduceOp summed(ReduceOp op) { return op == ReduceOp::kAvg ? ReduceOp::kSum : op; }

  WorkPtr start(OperationKind kind, std::string_view tag, const at::Tensor& tensor,
                std::function<void()> run) {
    const Ticket ticket = begin(kind, tag, tensor);
    if (tensor.defined() && tensor.numel() == 0) return nothing(ticket);
    auto task = std::make_shared<Task>(std::move(run));
    worker_.add(task);
    return std::make_shared<HierarchicalWork>(faults_->liveness->recorder(), ticket,
                                              std::move(task));
  }
  void meet(std::string_view tag, std::function<void()> run) {
    start(OperationKind::kBarrier, tag, at::Tensor(), std::move(run))->wait();
  }

  struct Chunk {
    at::Tensor all;    // of the buffer; a padded copy where its length is not that of L slices
    at::Tensor whole;  // where the copy goes back to
    at::Tensor slice;  // this rank's
    WorkPtr across;
  };

  void reduce_in_chunks(const at::Tensor& flat, ReduceOp op, const std::string& tag) {
    std::deque<Chunk> under_way;
    const auto end_first = [&] {
      Chunk chunk = std::move(under_way.front());
      under_way.pop_front();
      chunk.across->wait();
      if (op == ReduceOp::kAvg) chunk.slice.div_(size());
      parts_.local->all_gather(chunk.all, chunk.slice, tag)->wait();
      if (chunk.whole.defined()) chunk.whole.copy_(chunk.all.narrow(0, 0, chunk.whole.numel()));
    };
    const int64_t most = std::max<int64_t>(1, parts_.chunk_bytes / flat.element_size());
    for (int64_t begin = 0; begin < flat.numel(); begin += most) {
      under_way.push_back(
          begin_chunk(flat.narrow(0, begin, std::min(most, flat.numel() - begin)), op, tag));
      if (under_way.size() > kUnderWay) end_first();
    }
    while (!under_way.empty()) end_first();
  }

  Chunk begin_chunk(const at::Tensor& part, ReduceOp op, const std::string& tag) {
    const int64_t local = parts_.local->size();
    const int64_t slice = (part.numel() + local - 1) / local;
    Chunk chunk{part, {}, {}, nullptr};
    if (slice * local != part.numel()) {
      chunk.whole = part;
      chunk.all = parts_.local->empty(slice * local, part.scalar_type());
      chunk.all.narrow(0, 0, part.numel()).copy_(part);
      chunk.all.narrow(0, part.numel(), slice * local - part.numel()).zero_();
    }
    chunk.slice = parts_.local->empty(slice, part.scalar_type());
    parts_.local->reduce_scatter(chunk.slice, chunk.all, summed(op), tag)->wait();
    chunk.across = parts_.across->all_reduce(chunk.slice, summed(op), tag);
    return chunk;
  }

  HierarchicalParts parts_;
  std::vector<int64_t> by_place_;  // group ranks by place in the host, then host: the order in
                                   // which parts pass through the two groups
  std::vector<Place> places_;      // by group rank
  Worker worker_;
};

}  // namespace

bool is_hierarchy(const std::vector<std::vector<int>>& hosts) {
  return hosts.size() > 1 && hosts[0].size() > 1 &&
         std::all_of(hosts.begin(), hosts.end(),
                     [&](const auto& ranks) { return ranks.size() == hosts[0].size(); });
}

std::unique_ptr<Group> make_hierarchical_group(HierarchicalParts parts,
                                               std::shared_ptr<Liveness> liveness) {
  return std::make_unique<HierarchicalGroup>(std::move(parts), std::move(liveness));
}

}  // namespace trireme::comm
