#include "trireme/comm/gloo_group.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <mutex>
#include <thread>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "trireme/base/error.h"
#include "trireme/comm/foreign_error.h"
#include "trireme/comm/gloo_transport.h"
#include "trireme/comm/gloo_work.h"
#include "trireme/comm/group_base.h"
#include "trireme/comm/liveness.h"
#include "trireme/comm/time_limit.h"

namespace trireme::comm {

namespace {

using c10d::ProcessGroupGloo;

// Gloo's own deadline is a little after the longest of ours, which name the culprit.
constexpr std::chrono::milliseconds kGlooGrace{5000};

// c10d notes every operation in a recorder of the process without a lock of its own (2.11, seen as
// a crash): ranks that are threads of one process must not start operations at the same moment.
std::mutex& enqueue_mutex() {
  static std::mutex mutex;
  return mutex;
}

c10d::ReduceOp gloo_op(ReduceOp op) {
  switch (op) {
    case ReduceOp::kMin:
      return c10d::ReduceOp::MIN;
    case ReduceOp::kMax:
      return c10d::ReduceOp::MAX;
    default:
      return c10d::ReduceOp::SUM;
  }
}

// The operation's own contiguous copy; as bytes when the values do not matter to it.
at::Tensor stage(const at::Tensor& tensor) {
  return at::empty(tensor.sizes(), tensor.options().requires_grad(false).memory_format(
                                       at::MemoryFormat::Contiguous))
      .copy_(tensor);
}
at::Tensor stage_empty(const at::Tensor& tensor) {
  return at::empty(tensor.sizes(), tensor.options().requires_grad(false).memory_format(
                                       at::MemoryFormat::Contiguous));
}
at::Tensor bytes_of(const at::Tensor& staged) {
  return staged.view({-1}).view(at::kByte);
}

class GlooGroup : public GroupBase {
 public:
  GlooGroup(const GlooGroupOptions& options, std::shared_ptr<GlooTransport> transport,
            std::shared_ptr<Liveness> liveness)
      : GroupBase(options.name, options.ranks, options.timeout_s, std::move(liveness)),
        transport_(std::move(transport)) {
    faults_->gave_up = [transport = transport_] { return transport->broken(); };
    auto gloo = ProcessGroupGloo::Options::create(to_ms(options.connect_timeout_s));
    gloo->devices.push_back(transport_->device());
    gloo->threads = 2;
    connect(
        [&] { gloo_ = c10::make_intrusive<ProcessGroupGloo>(options.store, rank_, size(), gloo); });
    gloo_->setTimeout(kPatience * faults_->timeout + kGlooGrace);
  }

  // Gloo cannot give an operation up, and its destructor waits for those that it has: after a
  // failure that is left to a thread of its own, which ends when the peers have closed their
  // connections or with the process.
  ~GlooGroup() override {
    if (faults_->failed()) {
      std::thread([gloo = std::move(gloo_), transport = transport_]() mutable {
        gloo.reset();
      }).detach();
    }
  }

  WorkPtr all_reduce(at::Tensor buffer, ReduceOp op, std::string_view tag) override {
    const CallName name{"all_reduce", tag};
    check_average(op, buffer, name);
    const Ticket ticket = begin(OperationKind::kAllReduce, tag, buffer);
    if (buffer.numel() == 0) {
      return nothing(ticket);
    }
    const at::NoGradGuard no_grad;
    at::Tensor staged = stage(buffer);
    std::vector<at::Tensor> tensors{staged.view({-1})};
    c10d::AllreduceOptions options;
    options.reduceOp = gloo_op(op);
    return start(
        ticket, [&] { return gloo_->allreduce(tensors, options); },
        [=, size = size()] { buffer.copy_(op == ReduceOp::kAvg ? staged.div_(size) : staged); });
  }

  WorkPtr broadcast(at::Tensor buffer, int root, std::string_view tag) override {
    check_rank(root, {"broadcast", tag});
    const Ticket ticket = begin(OperationKind::kBroadcast, tag, buffer, root);
    if (buffer.numel() == 0) {
      return nothing(ticket);
    }
    const at::NoGradGuard no_grad;
    const bool mine = root == rank_;
    at::Tensor staged = mine ? stage(buffer) : stage_empty(buffer);
    std::vector<at::Tensor> tensors{bytes_of(staged)};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    return start(
        ticket, [&] { return gloo_->broadcast(tensors, options); },
        [=] {
          if (!mine) {
            buffer.copy_(staged);
          }
        });
  }

  WorkPtr all_gather(at::Tensor out, at::Tensor in, std::string_view tag) override {
    check_sizes(out, in, {"all_gather", tag});
    const Ticket ticket = begin(OperationKind::kAllGather, tag, out);
    return move_bytes(ticket, out, in, [this](at::Tensor& to, at::Tensor& from) {
      return gloo_->_allgather_base(to, from);
    });
  }

  WorkPtr reduce_scatter(at::Tensor out, at::Tensor in, ReduceOp op,
                         std::string_view tag) override {
    const CallName name{"reduce_scatter", tag};
    check_average(op, in, name);
    check_sizes(in, out, name);
    const Ticket ticket = begin(OperationKind::kReduceScatter, tag, in);
    if (in.numel() == 0) {
      return nothing(ticket);
    }
    const at::NoGradGuard no_grad;
    // As Gloo in LibTorch itself does it: all of it is reduced, each rank keeps its part.
    at::Tensor staged = stage(in).view({-1});
    at::Tensor mine = staged.narrow(0, rank_ * out.numel(), out.numel()).view(out.sizes());
    std::vector<at::Tensor> tensors{staged};
    c10d::AllreduceOptions options;
    options.reduceOp = gloo_op(op);
    return start(
        ticket, [&] { return gloo_->allreduce(tensors, options); },
        [=, size = size()] { out.copy_(op == ReduceOp::kAvg ? mine.div_(size) : mine); });
  }

  WorkPtr all_to_all(at::Tensor out, at::Tensor in, std::string_view tag) override {
    check_exchange(out, in, {"all_to_all", tag});
    const Ticket ticket = begin(OperationKind::kAllToAll, tag, in);
    return move_bytes(ticket, out, in, [this](at::Tensor& to, at::Tensor& from) {
      std::vector<int64_t> equal_parts;
      return gloo_->alltoall_base(to, from, equal_parts, equal_parts);
    });
  }

  WorkPtr send(at::Tensor buffer, int peer, std::string_view tag) override {
    check_rank(peer, {"send", tag});
    const Ticket ticket = begin(OperationKind::kSend, tag, buffer, peer);
    if (buffer.numel() == 0) {
      return nothing(ticket);
    }
    const at::NoGradGuard no_grad;
    at::Tensor staged = stage(buffer);
    std::vector<at::Tensor> tensors{bytes_of(staged)};
    auto gloo = launch(ticket, [&] { return gloo_->send(tensors, peer, 0); });
    return point_to_point_work(
        faults_, ticket, [staged] {}, std::move(gloo));
  }

  WorkPtr recv(at::Tensor buffer, int peer, std::string_view tag) override {
    check_rank(peer, {"recv", tag});
    const Ticket ticket = begin(OperationKind::kRecv, tag, buffer, peer);
    if (buffer.numel() == 0) {
      return nothing(ticket);
    }
    const at::NoGradGuard no_grad;
    at::Tensor staged = stage_empty(buffer);
    std::vector<at::Tensor> tensors{bytes_of(staged)};
    auto gloo = launch(ticket, [&] { return gloo_->recv(tensors, peer, 0); });
    return point_to_point_work(
        faults_, ticket, [=] { buffer.copy_(staged); }, std::move(gloo));
  }

  void barrier(std::string_view tag) override { meet(tag, /*patience=*/1); }
  void patient_barrier(std::string_view tag) override { meet(tag, kPatience); }

 private:
  template <class Call>
  c10::intrusive_ptr<c10d::Work> launch(const Ticket& ticket, const Call& call) {
    try {
      const std::lock_guard lock(enqueue_mutex());
      return call();
    } catch (const std::exception& e) {
      faults_->check_alive(ticket, kNewsTime);
      throw run_error(recorder().operation(ticket).name(), ": ", first_line(e.what()));
    }
  }

  template <class Call>
  WorkPtr start(const Ticket& ticket, const Call& call, std::function<void()> finish,
                int patience = 1) {
    auto gloo = launch(ticket, call);
    return collective_work(faults_, ticket, std::move(finish), *gloo, patience);
  }

  // An operation to which values do not matter: call(out, in) as bytes.
  template <class Call>
  WorkPtr move_bytes(const Ticket& ticket, const at::Tensor& out, const at::Tensor& in,
                     const Call& call) {
    if (out.numel() == 0) {
      return nothing(ticket);
    }
    const at::NoGradGuard no_grad;
    at::Tensor from = bytes_of(stage(in));
    at::Tensor staged = stage_empty(out);
    at::Tensor to = bytes_of(staged);
    return start(
        ticket, [&] { return call(to, from); }, [=] { out.copy_(staged); });
  }

  void meet(std::string_view tag, int patience) {
    const Ticket ticket = begin(OperationKind::kBarrier, tag, at::Tensor());
    start(
        ticket, [&] { return gloo_->barrier(); }, [] {}, patience)
        ->wait();
  }

  std::shared_ptr<GlooTransport> transport_;
  c10::intrusive_ptr<ProcessGroupGloo> gloo_;
};

}  // namespace

std::unique_ptr<Group> make_gloo_group(const GlooGroupOptions& options,
                                       std::shared_ptr<GlooTransport> transport,
                                       std::shared_ptr<Liveness> liveness) {
  return std::make_unique<GlooGroup>(options, std::move(transport), std::move(liveness));
}

}  // namespace trireme::comm
