#include "trireme/parallel/bucket.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "trireme/device/caching_allocator.h"

namespace trireme::parallel {
namespace {

using device::MemoryCategory;
using device::MemoryScope;

at::Tensor slot_view(const at::Tensor& flat, const Slot& slot) {
  return flat.narrow(0, slot.offset, slot.numel).view(slot.param->local_shape());
}

void zero_padding(const FlatLayout& layout, const at::Tensor& flat) {
  for (size_t i = 0; i < layout.slots.size(); ++i) {
    const int64_t begin = layout.slots[i].offset + layout.slots[i].numel;
    const int64_t end = i + 1 < layout.slots.size() ? layout.slots[i + 1].offset : layout.numel;
    if (begin < end) flat.slice(0, begin, end).zero_();
  }
}

}  // namespace

Bucket::Bucket(FlatLayout layout, comm::Group& group, const BucketOptions& options)
    : layout_(std::move(layout)),
      group_(group),
      options_(options),
      own_(sharded() ? shard_run(layout_, group.size(), group.rank())
                     : ShardRun{0, layout_.numel}) {
  const at::NoGradGuard no_grad;
  buffer_.name = layout_.name;
  buffer_.ranges = cut_ranges(layout_, own_);
  allocate_values();
  if (!frozen()) allocate_grads();
  for (const Slot& slot : layout_.slots) {
    const at::Tensor view = slot_view(whole_value_, slot);
    if (values_come_and_go()) {
      value_views_.push_back(view);
      slot.param->value = at::Tensor();
    } else {
      slot.param->value = view;
    }
    slot.param->main_grad = frozen() ? at::Tensor() : slot_view(whole_grad_, slot);
  }
  if (!frozen()) expect_fresh_grads();
}

Bucket::~Bucket() {
  for (const Slot& slot : layout_.slots) slot.param->main_grad = at::Tensor();
  drop_values();
}

at::Tensor Bucket::own_part(const at::Tensor& whole) const {
  return whole.narrow(0, own_.begin, own_.numel);
}

// Values that peers read are in the group's memory; stage 3's whole ones are read here alone.
void Bucket::allocate_values() {
  const MemoryScope scope(MemoryCategory::kParameters);
  const at::ScalarType dtype = options_.compute_dtype;
  if (options_.join_values) {
    const comm::Group::Joined joined = group_.join(own_.numel, dtype).value();
    whole_value_ = joined.whole;
    buffer_.value = joined.own;
  } else if (values_come_and_go()) {
    elastic_value_ = ElasticFlat(layout_.numel, dtype);
    whole_value_ = elastic_value_.tensor();
    buffer_.value = group_.empty(own_.numel, dtype).zero_();
  } else {
    whole_value_ =
        sharded() ? group_.empty(layout_.numel, dtype).zero_() : at::zeros({layout_.numel}, dtype);
    buffer_.value = own_part(whole_value_);
  }
  buffer_.master = dtype == at::kFloat ? buffer_.value : at::zeros({own_.numel}, at::kFloat);
}

void Bucket::allocate_grads() {
  const MemoryScope scope(MemoryCategory::kGradients);
  if (grads_come_and_go()) {
    elastic_grad_ = ElasticFlat(layout_.numel, at::kFloat);
    whole_grad_ = elastic_grad_.tensor();
    buffer_.grad = at::zeros({own_.numel}, at::kFloat);
  } else {
    whole_grad_ = group_.empty(layout_.numel, at::kFloat).zero_();
    buffer_.grad = own_part(whole_grad_);
  }
}

void Bucket::expect_fresh_grads() {
  for (const Slot& slot : layout_.slots) slot.param->expect_fresh_grad();
}

void Bucket::begin_step() {
  has_sum_ = false;
  expect_fresh_grads();
}

void Bucket::open_grad() {
  if (!grads_come_and_go() || elastic_grad_.live()) return;
  const at::NoGradGuard no_grad;
  const MemoryScope scope(MemoryCategory::kGradients);
  elastic_grad_.take(group_.empty(layout_.numel, at::kFloat));
  zero_padding(layout_, whole_grad_);
}

void Bucket::zero_missing_grads() {
  for (const Slot& slot : layout_.slots) {
    if (slot.param->grad_is_fresh()) slot.param->main_grad.zero_();
  }
}

// All of the bucket's in one operation: they are small.
void Bucket::sum_partial_grads() {
  if (options_.partial_grads == nullptr) return;
  std::vector<at::Tensor> grads;
  int64_t numel = 0;
  for (const Slot& slot : layout_.slots) {
    if (slot.param->spec.tp != nn::TpKind::kReplicatedPartialGrad) continue;
    grads.push_back(whole_grad_.narrow(0, slot.offset, slot.numel));
    numel += slot.numel;
  }
  if (grads.empty()) return;
  at::Tensor sum = options_.partial_grads->empty(numel, at::kFloat);
  at::cat_out(sum, grads);
  options_.partial_grads->all_reduce(sum, comm::ReduceOp::kSum, "partial grads/" + name())->wait();
  int64_t offset = 0;
  for (const at::Tensor& grad : grads) {
    grad.copy_(sum.narrow(0, offset, grad.numel()));
    offset += grad.numel();
  }
}

void Bucket::start_reduce() {
  const at::NoGradGuard no_grad;
  open_grad();
  zero_missing_grads();
  sum_partial_grads();
  if (!sharded()) {
    if (group_.size() > 1) all_reduce();
    return;
  }
  // In place where the own part of the whole has nothing else to hold.
  const at::Tensor& whole = grads_come_and_go() ? elastic_grad_.memory() : whole_grad_;
  const at::Tensor sum = grads_come_and_go() && !has_sum_ ? buffer_.grad : own_part(whole);
  reducing_.push_back(group_.reduce_scatter(sum, whole, comm::ReduceOp::kSum, "grads/" + name()));
}

void Bucket::all_reduce() {
  int64_t begin = 0;  // of what is dense
  for (const Slot& slot : layout_.slots) {
    if (!slot.param->spec.sparse_grad || slot.param->uses > 1) continue;
    all_reduce_dense(whole_grad_.slice(0, begin, slot.offset));
    sparse_.emplace_back(slot_view(whole_grad_, slot), group_, "grads/" + name());
    begin = slot.offset + slot.numel;
  }
  all_reduce_dense(whole_grad_.slice(0, begin));
}

void Bucket::all_reduce_dense(const at::Tensor& part) {
  if (part.numel() == 0) return;
  const int64_t most = std::max<int64_t>(1, options_.chunk_bytes / 4);
  const int64_t chunks = (part.numel() + most - 1) / most;
  const int64_t chunk = (part.numel() + chunks - 1) / chunks;  // of equal size
  for (const at::Tensor& piece : part.split(chunk)) {
    reducing_.push_back(group_.all_reduce(piece, comm::ReduceOp::kSum, "grads/" + name()));
  }
}

void Bucket::finish_reduce() {
  const at::NoGradGuard no_grad;
  for (const comm::WorkPtr& work : reducing_) work->wait();
  for (SparseRows& rows : sparse_) rows.finish();
  reducing_.clear();
  sparse_.clear();
  if (!grads_come_and_go()) return;
  if (has_sum_) buffer_.grad.add_(own_part(whole_grad_));
  has_sum_ = true;
  elastic_grad_.free();
  expect_fresh_grads();
}

void Bucket::abandon() {
  reducing_.clear();
  sparse_.clear();
  if (grads_come_and_go()) elastic_grad_.free();
  for (const Slot& slot : layout_.slots) slot.param->reset_ready();
  begin_step();
}

void Bucket::acquire() {
  if (!values_come_and_go() || value_users_++ > 0) return;
  {
    const MemoryScope scope(MemoryCategory::kParameters);
    elastic_value_.take(at::empty({layout_.numel}, options_.compute_dtype));
  }
  for (size_t i = 0; i < layout_.slots.size(); ++i) layout_.slots[i].param->value = value_views_[i];
  start_gather();
}

void Bucket::start_gather() {
  const at::Tensor& whole = values_come_and_go() ? elastic_value_.memory() : whole_value_;
  gathering_ = group_.all_gather(whole, buffer_.value, "parameters/" + name());
}

void Bucket::wait_values() {
  if (gathering_ == nullptr) return;
  gathering_->wait();
  gathering_.reset();
}

void Bucket::release() {
  if (!values_come_and_go() || --value_users_ > 0) return;
  wait_values();
  drop_values();
}

void Bucket::drop_values() {
  gathering_.reset();
  value_users_ = 0;
  if (!values_come_and_go()) return;
  elastic_value_.free();
  for (const Slot& slot : layout_.slots) slot.param->value = at::Tensor();
}

void Bucket::round_masters() {
  const at::NoGradGuard no_grad;
  if (options_.compute_dtype != at::kFloat) buffer_.value.copy_(buffer_.master);
}

void Bucket::start_gather_updates() {
  if (!sharded() || options_.join_values) return;
  if (!values_come_and_go() || elastic_value_.live()) start_gather();
}

}  // namespace trireme::parallel
