#include "trireme/comm/shm_group.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <map>
#include <sstream>

#include "trireme/base/error.h"
#include "trireme/comm/group_base.h"
#include "trireme/comm/liveness.h"
#include "trireme/comm/local_peers.h"
#include "trireme/comm/shm_arena.h"
#include "trireme/comm/shm_collective.h"
#include "trireme/comm/shm_runner.h"
#include "trireme/comm/store.h"
#include "trireme/comm/time_limit.h"
#include "trireme/kernels/reduce.h"

namespace trireme::comm {

class ShmHost {
 public:
  ShmHost(int rank, LocalPeers peers, bool spin)
      : arena(std::make_shared<ShmArena>(rank, std::move(peers))),
        bell(new (arena->allocate(sizeof(shm::Bell))) shm::Bell{}),
        runner({bell, spin}) {}

  // The first that every rank allocates.
  static constexpr ShmPlace kBellPlace{0, 0};

  std::shared_ptr<ShmArena> arena;
  shm::Bell* bell;
  ShmRunner runner;
};

namespace {

std::string to_text(ShmPlace place) {
  return cat(place.segment, ' ', place.offset);
}

ShmPlace place_from_text(const std::string& text) {
  std::istringstream in(text);
  ShmPlace place;
  in >> place.segment >> place.offset;
  return place;
}

}  // namespace

std::shared_ptr<ShmHost> make_shm_host(int rank, LocalPeers peers, bool spin) {
  return std::make_shared<ShmHost>(rank, std::move(peers), spin);
}

uint64_t arena_bytes(const ShmHost& host) {
  return host.arena->bytes();
}

std::vector<std::byte*> reach(ShmHost& host, Group& group, const at::Tensor& mine) {
  const ShmPlace place = host.arena->locate(mine.const_data_ptr()).value();
  const auto all = group.all_gather_bytes(to_text(place), "places");
  std::vector<std::byte*> reached;
  for (int r = 0; r < group.size(); ++r) {
    const int rank = host.arena->peers().here()[static_cast<size_t>(r)];
    reached.push_back(host.arena->peer(rank, place_from_text(all[static_cast<size_t>(r)])));
  }
  return reached;
}

namespace {

using Clock = std::chrono::steady_clock;
using Ticket = FlightRecorder::Ticket;
using kernels::isa::Reduction;

// Operations of fewer bytes begin when somebody waits for them: to wake a thread costs more.
constexpr int64_t kBackgroundBytes = 1 << 20;
// Up to this size all is staged and everyone combines everything.
constexpr int64_t kSmallBytes = 8 << 10;

Reduction reduction(ReduceOp op) {
  switch (op) {
    case ReduceOp::kAvg:
      return Reduction::kAvg;
    case ReduceOp::kMin:
      return Reduction::kMin;
    case ReduceOp::kMax:
      return Reduction::kMax;
    default:
      return Reduction::kSum;
  }
}

const std::byte* bytes_of(const at::Tensor& tensor) {
  return static_cast<const std::byte*>(tensor.const_data_ptr());
}
std::byte* mutable_bytes_of(const at::Tensor& tensor) {
  return static_cast<std::byte*>(tensor.mutable_data_ptr());
}

class ShmWork : public Work {
 public:
  ShmWork(std::shared_ptr<GroupFaults> faults, std::shared_ptr<ShmHost> host,
          std::shared_ptr<ShmTask> task, const Ticket& ticket, std::function<void()> finish,
          int patience)
      : faults_(std::move(faults)),
        host_(std::move(host)),
        task_(std::move(task)),
        ticket_(ticket),
        finish_(std::move(finish)),
        patience_(patience),
        deadline_(Clock::now() + patience * faults_->timeout) {}

  // The operation goes on without its caller: the peers need it.
  ~ShmWork() override {
    if (!ShmRunner::over(*task_)) host_->runner.begin();
  }

  void wait() override {
    if (finished_) return;
    {
      const BlockedTime blocked(*faults_->liveness->recorder());
      try {
        host_->runner.wait(*task_, [this] { check(); });
      } catch (const ShmMismatch&) {
        faults_->fail_mismatch(ticket_);
      }
    }
    if (finish_) {
      const at::NoGradGuard no_grad;
      finish_();
      finish_ = nullptr;
    }
    finished_ = true;
    faults_->liveness->recorder()->end(ticket_);
  }

  bool done() override { return finished_ || ShmRunner::over(*task_); }

 private:
  void check() {
    faults_->check_alive(ticket_);
    if (Clock::now() >= deadline_) faults_->fail_deadline(ticket_, patience_);
  }

  std::shared_ptr<GroupFaults> faults_;
  std::shared_ptr<ShmHost> host_;
  std::shared_ptr<ShmTask> task_;
  Ticket ticket_;
  std::function<void()> finish_;
  int patience_;
  Clock::time_point deadline_;
  bool finished_ = false;
};

class ShmGroup : public GroupBase {
 public:
  ShmGroup(const ShmGroupOptions& options, std::shared_ptr<ShmHost> host,
           std::shared_ptr<Liveness> liveness)
      : GroupBase(options.name, options.ranks, options.timeout_s, std::move(liveness)),
        host_(std::move(host)),
        state_(std::make_shared<ShmGroupState>()) {
    state_->arena = host_->arena;
    state_->ranks = options.ranks;
    state_->rank = rank_;
    state_->small_bytes = kSmallBytes;
    connect([&] { meet(*options.store, to_ms(options.connect_timeout_s)); });
    lane_ = add_lane();
  }

  // Peers may need what was begun and not waited for; not from a rank that fails.
  ~ShmGroup() override {
    const auto deadline = Clock::now() + faults_->timeout;
    const bool fails = std::uncaught_exceptions() > 0;
    for (const auto& lane : lanes_) {
      host_->runner.drain(*lane,
                          [&] { return fails || faults_->failed() || Clock::now() >= deadline; });
    }
    for (const auto& lane : lanes_) host_->runner.remove(lane);
  }

  at::Tensor empty(int64_t numel, at::ScalarType dtype) override {
    return host_->arena->empty(numel, dtype);
  }

  bool joins() const override { return true; }

  std::optional<Joined> join(int64_t numel, at::ScalarType dtype) override {
    const auto bytes = static_cast<size_t>(numel) * c10::elementSize(dtype);
    if (numel <= 0 || bytes % kJoinedBytes != 0) {
      throw run_error("group ", name_, ": ", bytes,
                      " bytes are not a number of whole pages to join");
    }
    Joined joined;
    joined.own = host_->arena->empty_pages(numel, dtype).zero_();
    const ShmPlace place = host_->arena->locate(joined.own.const_data_ptr()).value();
    const auto all = all_gather_bytes(to_text(place), "places of joined memory");
    std::vector<std::pair<int, ShmPlace>> places;
    for (size_t r = 0; r < all.size(); ++r) {
      places.emplace_back(state_->ranks[r], place_from_text(all[r]));
    }
    const std::shared_ptr<std::byte> memory = host_->arena->join(places, bytes);
    // Peers' parts are counted where they are owned; each rank frees its own when nobody of it
    // reads.
    joined.whole = at::from_blob(
        memory.get(), {static_cast<int64_t>(all.size()) * numel},
        [memory, own = joined.own](void*) {}, dtype);
    return joined;
  }

  WorkPtr all_reduce(at::Tensor buffer, ReduceOp op, std::string_view tag) override {
    check_reduction(op, buffer, {"all_reduce", tag});
    const Ticket ticket = begin(OperationKind::kAllReduce, tag, buffer);
    const at::Tensor flat = buffer.contiguous();
    return collect(ticket, call(ShmKind::kAllReduce, flat, flat, flat.numel(), op), buffer);
  }

  WorkPtr broadcast(at::Tensor buffer, int root, std::string_view tag) override {
    check_rank(root, {"broadcast", tag});
    const Ticket ticket = begin(OperationKind::kBroadcast, tag, buffer, root);
    const at::Tensor flat = buffer.contiguous();
    ShmCall c = call(ShmKind::kBroadcast, flat, flat, flat.numel());
    c.root = root;
    return collect(ticket, c, root == rank() ? flat : buffer);
  }

  WorkPtr all_gather(at::Tensor out, at::Tensor in, std::string_view tag) override {
    check_sizes(out, in, {"all_gather", tag});
    const Ticket ticket = begin(OperationKind::kAllGather, tag, out);
    return collect(ticket, call(ShmKind::kAllGather, in.contiguous(), flat_like(out), in.numel()),
                   out);
  }

  WorkPtr reduce_scatter(at::Tensor out, at::Tensor in, ReduceOp op,
                         std::string_view tag) override {
    check_reduction(op, in, {"reduce_scatter", tag});
    check_sizes(in, out, {"reduce_scatter", tag});
    const Ticket ticket = begin(OperationKind::kReduceScatter, tag, in);
    return collect(ticket,
                   call(ShmKind::kReduceScatter, in.contiguous(), flat_like(out), out.numel(), op),
                   out);
  }

  WorkPtr all_to_all(at::Tensor out, at::Tensor in, std::string_view tag) override {
    check_exchange(out, in, {"all_to_all", tag});
    const Ticket ticket = begin(OperationKind::kAllToAll, tag, in);
    return collect(ticket,
                   call(ShmKind::kAllToAll, in.contiguous(), flat_like(out), in.numel() / size()),
                   out);
  }

  WorkPtr send(at::Tensor buffer, int peer, std::string_view tag) override {
    check_peer(peer, {"send", tag});
    const Ticket ticket = begin(OperationKind::kSend, tag, buffer, peer);
    if (buffer.numel() == 0) return nothing(ticket);
    const at::NoGradGuard no_grad;
    at::Tensor flat = buffer.contiguous();
    if (!host_->arena->locate(flat.const_data_ptr())) {
      flat = empty(buffer.numel(), buffer.scalar_type());
      flat.copy_(buffer.reshape({-1}));
    }
    ShmCall c = call(ShmKind::kMessage, flat, flat, flat.numel());
    c.root = peer;
    const ShmPlace place = host_->arena->locate(flat.const_data_ptr()).value();
    auto task = std::make_shared<ShmSend>(state_, c, place, ++sent_[peer]);
    return submit(ticket, message_lane(send_lanes_, peer), std::move(task), nullptr,
                  /*background=*/true);
  }

  WorkPtr recv(at::Tensor buffer, int peer, std::string_view tag) override {
    check_peer(peer, {"recv", tag});
    const Ticket ticket = begin(OperationKind::kRecv, tag, buffer, peer);
    if (buffer.numel() == 0) return nothing(ticket);
    const at::Tensor flat = flat_like(buffer);
    ShmCall c = call(ShmKind::kMessage, flat, flat, flat.numel());
    c.root = peer;
    auto task = std::make_shared<ShmReceive>(state_, c, ++received_[peer]);
    return submit(ticket, message_lane(receive_lanes_, peer), std::move(task),
                  copy_back(flat, buffer),
                  static_cast<int64_t>(buffer.nbytes()) >= kBackgroundBytes);
  }

  void barrier(std::string_view tag) override { wait_for_all(tag, /*patience=*/1); }
  void patient_barrier(std::string_view tag) override { wait_for_all(tag, kPatience); }

 private:
  using Lane = std::shared_ptr<ShmLane>;

  // Makes this rank's block and finds the others'.
  void meet(c10d::Store& store, std::chrono::milliseconds timeout) {
    const size_t bytes = shm::Block::bytes(size());
    std::byte* block = state_->arena->allocate(bytes);
    std::memset(block, 0, bytes);
    const ShmPlace place = state_->arena->locate(block).value();
    const auto all = gather(store, "block/", {rank(), size()}, to_text(place), timeout);
    for (int r = 0; r < size(); ++r) {
      const int world_rank = state_->ranks[static_cast<size_t>(r)];
      const ShmPlace theirs = place_from_text(all[static_cast<size_t>(r)]);
      state_->blocks.push_back(
          reinterpret_cast<shm::Block*>(state_->arena->peer(world_rank, theirs)));
      state_->bells.push_back(r == rank() ? nullptr
                                          : reinterpret_cast<shm::Bell*>(state_->arena->peer(
                                                world_rank, ShmHost::kBellPlace)));
    }
  }

  Lane add_lane() {
    lanes_.push_back(std::make_shared<ShmLane>());
    host_->runner.add(lanes_.back());
    return lanes_.back();
  }
  Lane& message_lane(std::map<int, Lane>& lanes, int peer) {
    Lane& lane = lanes[peer];
    if (!lane) lane = add_lane();
    return lane;
  }

  static ShmCall call(ShmKind kind, const at::Tensor& in, const at::Tensor& out, int64_t numel,
                      ReduceOp op = ReduceOp::kSum) {
    ShmCall c;
    c.kind = kind;
    c.dtype = in.scalar_type();
    c.op = reduction(op);
    c.in = bytes_of(in);
    c.out = mutable_bytes_of(out);
    c.numel = numel;
    c.keep = {in, out};
    return c;
  }

  // `tensor` itself when results can be written straight into it.
  static at::Tensor flat_like(const at::Tensor& tensor) {
    return tensor.is_contiguous() ? tensor : at::empty(tensor.sizes(), tensor.scalar_type());
  }
  static std::function<void()> copy_back(const at::Tensor& from, const at::Tensor& to) {
    if (from.is_same(to)) return nullptr;
    return [from, to] { at::Tensor(to).copy_(from); };
  }

  WorkPtr collect(const Ticket& ticket, const ShmCall& c, const at::Tensor& result) {
    const auto bytes = static_cast<int64_t>(announced_bytes(c, size()));
    if (bytes == 0) return nothing(ticket);
    auto task = std::make_shared<ShmCollective>(state_, c);
    return submit(ticket, lane_, std::move(task), copy_back(c.keep.out, result),
                  bytes >= kBackgroundBytes);
  }

  WorkPtr submit(const Ticket& ticket, const Lane& lane, std::shared_ptr<ShmTask> task,
                 std::function<void()> finish, bool background, int patience = 1) {
    host_->runner.submit(*lane, task, background);
    return std::make_shared<ShmWork>(faults_, host_, std::move(task), ticket, std::move(finish),
                                     patience);
  }

  void wait_for_all(std::string_view tag, int patience) {
    const Ticket ticket = begin(OperationKind::kBarrier, tag, at::Tensor());
    submit(ticket, lane_, std::make_shared<ShmCollective>(state_, ShmCall{}), nullptr,
           /*background=*/false, patience)
        ->wait();
  }

  void check_reduction(ReduceOp op, const at::Tensor& tensor, const CallName& name) const {
    check_average(op, tensor, name);
    if (kernels::reducer(tensor.scalar_type()) == nullptr) {
      throw refused(name, ": values of type ", c10::toString(tensor.scalar_type()),
                    " cannot be combined");
    }
  }

  void check_peer(int peer, const CallName& name) const {
    check_rank(peer, name);
    if (peer == rank_) throw refused(name, ": to and from itself");
  }

  std::shared_ptr<ShmHost> host_;
  std::shared_ptr<ShmGroupState> state_;
  std::vector<Lane> lanes_;
  Lane lane_;  // of collectives
  std::map<int, Lane> send_lanes_, receive_lanes_;
  std::map<int, uint64_t> sent_, received_;
};

}  // namespace

std::unique_ptr<Group> make_shm_group(const ShmGroupOptions& options, std::shared_ptr<ShmHost> host,
                                      std::shared_ptr<Liveness> liveness) {
  return std::make_unique<ShmGroup>(options, std::move(host), std::move(liveness));
}

}  // namespace trireme::comm
