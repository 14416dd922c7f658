#include "trireme/parallel/engine.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "trireme/base/error.h"
#include "trireme/base/list_text.h"
#include "trireme/device/caching_allocator.h"

namespace trireme::parallel {
namespace {

constexpr int kShards = 1;

at::Tensor slot_view(const at::Tensor& flat, const Slot& slot) {
  return flat.narrow(0, slot.offset, slot.numel).view(slot.param->spec.shape);
}

optim::FlatBuffer allocate(const FlatLayout& layout, at::ScalarType compute_dtype) {
  optim::FlatBuffer buffer;
  buffer.name = layout.name;
  buffer.ranges = layout.ranges;
  {
    const device::MemoryScope scope(device::MemoryCategory::kParameters);
    buffer.master = at::zeros({layout.numel}, at::kFloat);
    buffer.value =
        compute_dtype == at::kFloat ? buffer.master : at::zeros({layout.numel}, compute_dtype);
  }
  const device::MemoryScope scope(device::MemoryCategory::kGradients);
  buffer.grad = at::zeros({layout.numel}, at::kFloat);
  return buffer;
}

}  // namespace

Engine::Engine(const std::vector<nn::UnitParams>& units, comm::Group& group,
               const EngineOptions& options)
    : group_(group), options_(options) {
  if (options.compute_dtype != at::kFloat && options.compute_dtype != at::kBFloat16) {
    throw input_error("the engine computes in float or bfloat16, not in ",
                      c10::toString(options.compute_dtype));
  }
  if (options.chunk_bytes < 4) throw input_error("chunk_bytes must be at least 4");
  const std::vector<FlatLayout> layouts = lay_out(units, kShards);
  regions_ = make_regions(layouts);
  for (const FlatLayout& layout : layouts) {
    const optim::FlatBuffer& buffer =
        buffers_.emplace_back(allocate(layout, options.compute_dtype));
    for (size_t slot = 0; slot < layout.slots.size(); ++slot) {
      nn::Param& param = *layout.slots[slot].param;
      param.value = slot_view(buffer.value, layout.slots[slot]);
      param.main_grad = slot_view(buffer.grad, layout.slots[slot]);
      param.sink = this;
      param.reset_ready();
      places_[&param] = {buckets_.size(), slot};
    }
    const std::vector<bool> none(layout.slots.size(), false);
    buckets_.push_back({layout, none, none, layout.slots.size(), {}, {}});
  }
}

Engine::~Engine() {
  for (const auto& [param, place] : places_) {
    nn::Param& owned = *buckets_[place.bucket].layout.slots[place.slot].param;
    owned.main_grad = at::Tensor();
    owned.sink = nullptr;
    owned.reset_ready();
  }
}

void Engine::init(uint64_t seed) {
  for (size_t b = 0; b < buckets_.size(); ++b) {
    for (const Slot& slot : buckets_[b].layout.slots) {
      nn::init_param(*slot.param, seed, slot_view(buffers_[b].master, slot));
    }
  }
  sync_values();
}

void Engine::sync_values() {
  at::NoGradGuard no_grad;
  if (options_.compute_dtype == at::kFloat) return;
  for (optim::FlatBuffer& buffer : buffers_) buffer.value.copy_(buffer.master);
}

void Engine::broadcast_masters(int root) {
  if (group_.size() > 1) {
    for (optim::FlatBuffer& buffer : buffers_) {
      group_.broadcast(buffer.master, root, "parameters/" + buffer.name)->wait();
    }
  }
  sync_values();
}

void Engine::begin_step(int micro_batches) {
  if (in_step_) throw run_error("begin_step before the last step was finished or abandoned");
  if (micro_batches < 1) throw run_error("a step has at least one micro-batch");
  in_step_ = true;
  micro_batch_ = 0;
  micro_batches_ = micro_batches;
  unlaunched_ = buckets_.size();
  for (Bucket& bucket : buckets_) bucket.used.assign(bucket.used.size(), false);
  start_micro_batch();
}

void Engine::start_micro_batch() {
  for (Bucket& bucket : buckets_) {
    bucket.ready.assign(bucket.ready.size(), false);
    bucket.pending = bucket.ready.size();
  }
}

void Engine::param_ready(nn::Param& param) {
  const Place place = place_of(param);
  if (!in_step_) throw run_error("gradient of ", param.spec.name, " arrived outside a step");
  Bucket& bucket = buckets_[place.bucket];
  const size_t slot = place.slot;
  if (bucket.ready[slot]) {
    throw run_error("gradient of ", param.spec.name,
                    " was complete twice in one micro-batch: it is used more often than its ",
                    param.uses, " declared uses");
  }
  bucket.ready[slot] = true;
  bucket.used[slot] = true;
  if (--bucket.pending == 0 && last_micro_batch()) launch(/*even_if_not_full=*/false);
}

void Engine::launch(bool even_if_not_full) {
  while (unlaunched_ > 0 && (even_if_not_full || buckets_[unlaunched_ - 1].pending == 0)) {
    --unlaunched_;
    if (group_.size() > 1) all_reduce(buckets_[unlaunched_], buffers_[unlaunched_].grad);
  }
}

void Engine::all_reduce(Bucket& bucket, const at::Tensor& grad) {
  int64_t begin = 0;  // of what is dense
  for (const Slot& slot : bucket.layout.slots) {
    if (!slot.param->spec.sparse_grad || slot.param->uses > 1) continue;
    all_reduce_dense(bucket, grad.slice(0, begin, slot.offset));
    bucket.sparse.emplace_back(slot_view(grad, slot), group_, "grads/" + bucket.layout.name);
    begin = slot.offset + slot.numel;
  }
  all_reduce_dense(bucket, grad.slice(0, begin));
}

void Engine::all_reduce_dense(Bucket& bucket, const at::Tensor& part) {
  if (part.numel() == 0) return;
  const int64_t most = std::max<int64_t>(1, options_.chunk_bytes / 4);
  const int64_t chunks = (part.numel() + most - 1) / most;
  const int64_t chunk = (part.numel() + chunks - 1) / chunks;  // of equal size
  for (const at::Tensor& piece : part.split(chunk)) {
    bucket.works.push_back(
        group_.all_reduce(piece, comm::ReduceOp::kSum, "grads/" + bucket.layout.name));
  }
}

void Engine::end_micro_batch() {
  if (!in_step_ || micro_batch_ >= micro_batches_) {
    throw run_error("end_micro_batch without a micro-batch: begin_step announced ", micro_batches_);
  }
  // A Param with some uses in this micro-batch but not all of them has its gradient nonetheless;
  // its count starts anew.
  for (Bucket& bucket : buckets_) {
    if (bucket.pending == 0) continue;
    for (size_t slot = 0; slot < bucket.used.size(); ++slot) {
      nn::Param& param = *bucket.layout.slots[slot].param;
      if (param.ready_calls() > 0) bucket.used[slot] = true;
      param.reset_ready();
    }
  }
  ++micro_batch_;
  if (micro_batch_ < micro_batches_) start_micro_batch();
}

void Engine::check_used() const {
  std::vector<std::string> names;
  for (const Bucket& bucket : buckets_) {
    for (size_t slot = 0; slot < bucket.used.size(); ++slot) {
      if (!bucket.used[slot]) names.push_back(bucket.layout.slots[slot].param->spec.name);
    }
  }
  if (names.empty()) return;
  constexpr size_t kMost = 10;
  throw run_error("no gradient arrived for ", names.size(),
                  " parameter(s): ", list_text(names, kMost),
                  "; the loss does not depend on them: leave them out of the model, or let unused "
                  "parameters count as zero");
}

void Engine::finish_step() {
  if (!in_step_ || micro_batch_ != micro_batches_) {
    throw run_error("finish_step after ", micro_batch_, " of ", micro_batches_, " micro-batches");
  }
  if (options_.unused == Unused::kError) check_used();
  launch(/*even_if_not_full=*/true);
  for (auto bucket = buckets_.rbegin(); bucket != buckets_.rend(); ++bucket) {
    for (const comm::WorkPtr& work : bucket->works) work->wait();
    for (SparseRows& rows : bucket->sparse) rows.finish();
    bucket->works.clear();
    bucket->sparse.clear();
  }
  in_step_ = false;
}

void Engine::abandon_step() {
  for (Bucket& bucket : buckets_) {
    bucket.works.clear();
    bucket.sparse.clear();
    for (const Slot& slot : bucket.layout.slots) slot.param->reset_ready();
  }
  for (optim::FlatBuffer& buffer : buffers_) buffer.grad.zero_();
  in_step_ = false;
}

Engine::Place Engine::place_of(const nn::Param& param) const {
  const auto found = places_.find(&param);
  if (found == places_.end()) throw run_error("the engine does not hold ", param.spec.name);
  return found->second;
}

at::Tensor Engine::master(const nn::Param& param) const {
  const Place place = place_of(param);
  return slot_view(buffers_[place.bucket].master, buckets_[place.bucket].layout.slots[place.slot]);
}

int64_t Engine::parameter_count() const {
  int64_t count = 0;
  for (const Region& region : regions_) count += region.numel();
  return count;
}

std::vector<std::string> Engine::non_finite_gradients(size_t most) const {
  at::NoGradGuard no_grad;
  std::vector<std::string> names;
  for (const Region& region : regions_) {
    if (names.size() == most) break;
    if (!region.view(buffers_[region.bucket].grad).isfinite().all().item<bool>()) {
      names.push_back(region.name);
    }
  }
  return names;
}

}  // namespace trireme::parallel
