#include "trireme/plan/dry_run.h"

#include <algorithm>

namespace trireme::plan {
namespace {

// What a rank gives others of `bytes` of all ranks' parts: the least that the operation needs.
int64_t given_bytes(LinkOp op, int64_t bytes, int64_t ranks) {
  switch (op) {
    case LinkOp::kSend:
      return bytes;
    case LinkOp::kAllReduce:
      return 2 * bytes * (ranks - 1) / ranks;
    default:
      return bytes * (ranks - 1) / ranks;
  }
}

}  // namespace

Block DryRun::take_shared(Axis axis, int64_t bytes) {
  return peers(axis).on_host() > 1 ? arena_.take(bytes) : heap_.take(bytes);
}

void DryRun::product(Product product, int64_t rows, int64_t in, int64_t out) {
  spend(rates().product_s(product, rows, in, out));
}

void DryRun::weight_grad(int64_t rows, int64_t in, int64_t out, const Block& dy, const Block& x) {
  const double s = rates().product_s(Product::kWeightGrad, rows, in, out);
  if (!defers_) {
    spend(s);
    return;
  }
  deferred_.seconds += s * options_.crowding;
  deferred_.reads.push_back(dy);
  deferred_.reads.push_back(x);
}

void DryRun::row_op(RowOp op, int64_t elements) {
  spend(rates().row_s(op, elements));
}

void DryRun::attention(AttentionKind kind, int64_t heads, int64_t head_size,
                       std::span<const int32_t> lengths, double share) {
  const AttentionGrid& grid = rates().attention[index_of(kind)];
  double sum = 0;
  for (const int32_t length : lengths) sum += grid.seconds(head_size, length);
  spend(sum * static_cast<double>(heads) * share);
}

void DryRun::optimizer(int64_t elements) {
  spend(rates().adamw.at(static_cast<double>(elements)));
}

void DryRun::grad_norm(int64_t elements) {
  spend(options_.rates->grad_norm.at(static_cast<double>(elements)));
}

void DryRun::zero(int64_t elements) {
  spend(options_.rates->zero.at(static_cast<double>(elements)));
}

double DryRun::cost(Axis axis, LinkOp op, int64_t bytes, bool in_arena) {
  const Peers& with = peers(axis);
  if (with.ranks < 2 || bytes <= 0) return 0;
  const Machine& machine = *options_.machine;
  const auto size = static_cast<double>(bytes);
  double s = 0;
  if (with.on_host() > 1) {
    const LinkPath path = in_arena ? LinkPath::kArena : LinkPath::kStaged;
    s += machine.link(path, op).seconds(size, with.on_host());
  }
  // Between hosts the ranks of one carry its share together.
  if (with.hosts > 1) s += machine.link(LinkPath::kNetwork, op).seconds(size, with.hosts);
  Traffic& traffic = traffic_[static_cast<size_t>(axis)];
  traffic.bytes += given_bytes(op, bytes, with.ranks);
  traffic.messages += 1;
  traffic.seconds += s;
  return s;
}

void DryRun::communicate(Axis axis, LinkOp op, int64_t bytes, bool in_arena) {
  seconds_ += cost(axis, op, bytes, in_arena);
}

void DryRun::start(Axis axis, LinkOp op, int64_t bytes, bool in_arena) {
  const double s = cost(axis, op, bytes, in_arena);
  if (!options_.cores_to_spare) {
    seconds_ += s;  // the cores that compute carry it
    return;
  }
  line_free_at_ = std::max(line_free_at_, seconds_) + s;
}

void DryRun::wait_for_all() {
  seconds_ = std::max(seconds_, line_free_at_);
}

}  // namespace trireme::plan
