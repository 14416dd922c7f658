#include "trireme/comm/group_base.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "trireme/comm/time_limit.h"

namespace trireme::comm {

void GroupFaults::fail(const Failure& failure, const FlightRecorder::Ticket& ticket) {
  broken = true;
  liveness->conclude(failure);
  throw run_error(describe(failure, liveness->peers(), liveness->rank(),
                           liveness->recorder()->operation(ticket)));
}

void GroupFaults::fail_deadline(const FlightRecorder::Ticket& ticket, int patience) {
  Liveness::Finding finding;
  finding.noticed = cat("; deadline of ", static_cast<double>((patience * timeout).count()) / 1000,
                        " s (", patience == 1 ? "" : cat(patience, " times "), "comm.timeout_s)");
  fail(liveness->find_out(liveness->recorder()->operation(ticket), ranks, finding), ticket);
}

void GroupFaults::fail_mismatch(const FlightRecorder::Ticket& ticket) {
  const Operation operation = liveness->recorder()->operation(ticket);
  fail(liveness->find_out(operation, ranks, {.noticed = "", .patience = kCertaintyTime}), ticket);
}

void GroupFaults::fail_broken(const FlightRecorder::Ticket& ticket) {
  if (const auto failure = liveness->board().wait_for(kNewsTime)) fail(*failure, ticket);
  fail_mismatch(ticket);
}

void GroupFaults::check_alive(const FlightRecorder::Ticket& ticket,
                              std::chrono::milliseconds time) {
  const auto failure =
      time.count() == 0 ? liveness->board().get() : liveness->board().wait_for(time);
  if (failure) fail(*failure, ticket);
  if (gave_up()) fail_broken(ticket);
}

GroupBase::GroupBase(std::string name, const std::vector<int>& ranks, double timeout_s,
                     std::shared_ptr<Liveness> liveness)
    : name_(std::move(name)), faults_(std::make_shared<GroupFaults>()) {
  faults_->liveness = std::move(liveness);
  faults_->ranks = ranks;
  faults_->timeout = to_ms(timeout_s);
  const auto me = std::find(ranks.begin(), ranks.end(), faults_->liveness->rank());
  if (me == ranks.end()) {
    throw run_error("rank ", faults_->liveness->rank(), " makes the group '", name_,
                    "' but is not in it");
  }
  rank_ = static_cast<int>(me - ranks.begin());
  id_ = recorder().add_group(name_, ranks);
}

FlightRecorder::Ticket GroupBase::begin(OperationKind kind, std::string_view tag,
                                        const at::Tensor& tensor, int peer) {
  FlightRecorder::Call call{.kind = kind, .tag = tag, .peer = peer};
  if (tensor.defined()) {
    call.bytes = static_cast<int64_t>(tensor.nbytes());
    call.dtype = tensor.scalar_type();
  }
  const Ticket ticket = recorder().begin(id_, call);
  faults_->check_alive(ticket);
  return ticket;
}

WorkPtr GroupBase::nothing(const Ticket& ticket) {
  recorder().end(ticket);
  return finished_work();
}

void GroupBase::check_rank(int rank, const CallName& call) const {
  if (rank < 0 || rank >= size()) {
    throw refused(call, ": there is no rank ", rank, " in a group of ", size());
  }
}

void GroupBase::check_sizes(const at::Tensor& whole, const at::Tensor& part,
                            const CallName& call) const {
  if (whole.numel() != part.numel() * size() || whole.scalar_type() != part.scalar_type()) {
    throw refused(call, ": ", size(), " parts of ", part.numel(), " ",
                  c10::toString(part.scalar_type()), " do not make ", whole.numel(), " ",
                  c10::toString(whole.scalar_type()));
  }
}

void GroupBase::check_exchange(const at::Tensor& out, const at::Tensor& in,
                               const CallName& call) const {
  if (out.numel() != in.numel() || out.scalar_type() != in.scalar_type() ||
      in.numel() % size() != 0) {
    throw refused(call, ": ", in.numel(), " ", c10::toString(in.scalar_type()), " do not go in ",
                  size(), " equal parts into ", out.numel(), " ", c10::toString(out.scalar_type()));
  }
}

void GroupBase::check_average(ReduceOp op, const at::Tensor& tensor, const CallName& call) const {
  if (op == ReduceOp::kAvg && !tensor.is_floating_point()) {
    throw refused(call, ": an average of integers; use kSum");
  }
}

}  // namespace trireme::comm
