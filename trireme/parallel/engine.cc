#include "trireme/parallel/engine.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "trireme/base/error.h"

namespace trireme::parallel {
namespace {

void check(const EngineOptions& options) {
  if (options.compute_dtype != at::kFloat && options.compute_dtype != at::kBFloat16) {
    throw input_error("the engine computes in float or bfloat16, not in ",
                      c10::toString(options.compute_dtype));
  }
  if (options.zero_stage < 0 || options.zero_stage > 3) {
    throw input_error("ZeRO has the stages 0 to 3, not ", options.zero_stage);
  }
  if (options.chunk_bytes < 4) throw input_error("chunk_bytes must be at least 4");
}

void refuse_uncalled(const nn::UnitParams& unit) {
  if (unit.called_as_unit || unit.params.empty()) return;
  throw input_error("ZeRO stage 3 must see unit ", unit.name,
                    " begin and end: make its block a nn::Unit<Block> (trireme/nn/unit.h), as in "
                    "`nn::Unit<Block> block{0, \"",
                    unit.name,
                    "\", ...}` and `x = block(x, context)`, or take stage 2 (parallel.zero = 2)");
}

// Elements of whole pages.
int64_t joined_multiple(at::ScalarType dtype) {
  return comm::kJoinedBytes / static_cast<int64_t>(c10::elementSize(dtype));
}

nn::TpSlice slice_of_rank(const EngineOptions& options) {
  if (options.tp == nullptr) return {};
  return {.rank = options.tp->rank(), .size = options.tp->size()};
}

}  // namespace

Engine::Engine(const std::vector<nn::UnitParams>& units, comm::Group& group,
               const EngineOptions& options)
    : group_(group), options_(options), joined_(sharded() && options.join_values && group.joins()) {
  check(options);
  if (options.zero_stage >= 3) std::for_each(units.begin(), units.end(), refuse_uncalled);
  const int shards = sharded() ? group.size() : 1;
  for (nn::Param* param : nn::params_once(units)) param->slice = slice_of_rank(options);
  const std::vector<FlatLayout> layouts =
      lay_out(units, shards, joined_ ? joined_multiple(options.compute_dtype) : kAlignment);
  whole_regions_ = make_regions(layouts);
  regions_ = cut_regions(whole_regions_, layouts, shards, sharded() ? group.rank() : 0);
  const bool shares = options.sequence_parallel && options.tp != nullptr && options.tp->size() > 1;
  for (const FlatLayout& layout : layouts) {
    for (size_t slot = 0; slot < layout.slots.size(); ++slot) {
      nn::Param& param = *layout.slots[slot].param;
      param.sink = this;
      param.reset_ready();
      places_[&param] = {buckets_.size(), slot};
    }
    buckets_.push_back(
        std::make_unique<Bucket>(layout, group,
                                 BucketOptions{.zero_stage = options.zero_stage,
                                               .join_values = joined_,
                                               .partial_grads = shares ? options.tp : nullptr,
                                               .compute_dtype = options.compute_dtype,
                                               .chunk_bytes = options.chunk_bytes}));
    buffers_.push_back(buckets_.back()->buffer());
    arrivals_.add(layout);
  }
  count_gradients();
  if (gathers()) map_units(units);
}

Engine::~Engine() {
  for (const auto& [param, place] : places_) {
    nn::Param& owned = *buckets_[place.bucket]->layout().slots[place.slot].param;
    owned.sink = nullptr;
    owned.reset_ready();
  }
}

void Engine::map_units(const std::vector<nn::UnitParams>& units) {
  std::vector<UnitBuckets> mapped;
  for (const nn::UnitParams& unit : units) {
    if (!unit_index_.emplace(unit.name, mapped.size()).second) {
      throw input_error("two units are named ", unit.name,
                        ": at ZeRO stage 3 names tell them apart");
    }
    UnitBuckets of_unit{unit.name, {}, unit.backward_reads_values};
    std::vector<size_t> indices;
    for (const nn::Param* param : unit.params) indices.push_back(place_of(*param).bucket);
    std::sort(indices.begin(), indices.end());
    indices.erase(std::unique(indices.begin(), indices.end()), indices.end());
    for (const size_t index : indices) {
      of_unit.buckets.push_back(buckets_[index].get());
      arrivals_.add_unit(index);
    }
    mapped.push_back(std::move(of_unit));
    unit_buckets_.push_back(std::move(indices));
  }
  gatherer_.emplace(std::move(mapped));
}

void Engine::init(uint64_t seed) {
  for (const Region& region : regions_) {
    const at::Tensor& master = buffers_[region.bucket].master;
    region.each_run([&](const nn::CutRun& run) {
      nn::init_run(region.param->spec, region.name, seed, run.global,
                   master.narrow(0, run.local, run.numel));
    });
  }
  sync_values();
}

void Engine::sync_values() {
  for (const auto& bucket : buckets_) {
    bucket->round_masters();
    bucket->start_gather_updates();
  }
  wait_for_updates();
}

void Engine::wait_for_updates() {
  for (const auto& bucket : buckets_) bucket->wait_values();
  if (joined_) group_.barrier("updated parameters");
}

void Engine::gather_updates() {
  for (const auto& bucket : buckets_) {
    if (!bucket->frozen()) bucket->start_gather_updates();
  }
  wait_for_updates();
}

void Engine::begin_step(int micro_batches) {
  if (in_step_) throw run_error("begin_step before the last step was finished or abandoned");
  if (micro_batches < 1) throw run_error("a step has at least one micro-batch");
  in_step_ = true;
  micro_batch_ = 0;
  micro_batches_ = micro_batches;
  unlaunched_ = buckets_.size();
  for (const auto& bucket : buckets_) {
    if (!bucket->frozen()) bucket->begin_step();
  }
  arrivals_.begin_step();
}

void Engine::grad_needed(nn::Param& param) {
  if (!in_step_) throw run_error("gradient of ", param.spec.name, " arrived outside a step");
  const size_t bucket = place_of(param).bucket;
  if (bucket >= unlaunched_) {
    throw run_error("gradient of ", param.spec.name, " arrived after ",
                    gathers() ? "backward of its unit had ended" : "its bucket was complete");
  }
  buckets_[bucket]->open_grad();
}

void Engine::param_ready(nn::Param& param) {
  const Place place = place_of(param);
  if (!in_step_) throw run_error("gradient of ", param.spec.name, " arrived outside a step");
  arrivals_.arrive(place.bucket, place.slot);
  if (!gathers() && reduces_now()) launch(/*even_if_not_complete=*/false);
}

bool Engine::complete(size_t bucket) const {
  if (buckets_[bucket]->frozen()) return true;
  return gathers() ? arrivals_.units_over(bucket) : arrivals_.full(bucket);
}

void Engine::launch(bool even_if_not_complete) {
  while (unlaunched_ > 0 && (even_if_not_complete || complete(unlaunched_ - 1))) {
    const size_t next = --unlaunched_;
    if (buckets_[next]->frozen()) continue;
    buckets_[next]->start_reduce();
    // Memory of whole gradients: the one before has had this one's backward to travel.
    if (reduces_every_micro_batch()) finish_under_way();
    under_way_.push_back(next);
  }
}

void Engine::finish_under_way() {
  for (const size_t bucket : under_way_) buckets_[bucket]->finish_reduce();
  under_way_.clear();
}

void Engine::end_micro_batch() {
  if (!in_step_ || micro_batch_ >= micro_batches_) {
    throw run_error("end_micro_batch without a micro-batch: begin_step announced ", micro_batches_);
  }
  arrivals_.end_micro_batch();
  if (gatherer_) gatherer_->drop_ahead();
  if (reduces_every_micro_batch()) {
    launch(/*even_if_not_complete=*/true);
    finish_under_way();
  }
  ++micro_batch_;
  if (micro_batch_ == micro_batches_) return;
  unlaunched_ = buckets_.size();
  arrivals_.begin_micro_batch();
}

void Engine::finish_step() {
  if (!in_step_ || micro_batch_ != micro_batches_) {
    throw run_error("finish_step after ", micro_batch_, " of ", micro_batches_, " micro-batches");
  }
  if (options_.unused == Unused::kError) arrivals_.check_all_used();
  launch(/*even_if_not_complete=*/true);
  finish_under_way();
  in_step_ = false;
}

void Engine::abandon_step() {
  under_way_.clear();
  for (const auto& bucket : buckets_) {
    if (!bucket->frozen()) bucket->abandon();
  }
  if (gatherer_) gatherer_->reset();
  in_step_ = false;
}

// Whole buckets where all of a bucket counts, padding being zero; otherwise runs of it.
void Engine::count_gradients() {
  const bool first = options_.tp == nullptr || options_.tp->rank() == 0;
  for (size_t bucket = 0; bucket < buffers_.size(); ++bucket) {
    if (buckets_[bucket]->frozen() || buckets_[bucket]->layout().copy || !first) continue;
    counted_gradients_.push_back(buffers_[bucket].grad);
  }
  if (first) return;
  for (const Region& region : regions_) {
    const bool cut = region.param->spec.tp == nn::TpKind::kShard;
    const Bucket& bucket = *buckets_[region.bucket];
    if (!cut || bucket.frozen() || bucket.layout().copy) continue;
    counted_gradients_.push_back(
        buffers_[region.bucket].grad.narrow(0, region.offset, region.numel()));
  }
}

Engine::Place Engine::place_of(const nn::Param& param) const {
  const auto found = places_.find(&param);
  if (found == places_.end()) throw run_error("the engine does not hold ", param.spec.name);
  return found->second;
}

int64_t Engine::parameter_count() const {
  int64_t count = 0;
  for (const auto& bucket : buckets_) {
    for (const Slot& slot : bucket->layout().slots) count += slot.param->spec.numel();
  }
  return count;
}

const nn::Param* Engine::tied_param(size_t bucket) const {
  const nn::Param* first = buckets_.at(bucket)->layout().slots.front().param;
  return first->spec.tie == nn::Tie::kNone ? nullptr : first;
}

size_t Engine::index_of(const nn::UnitId& unit) const {
  const auto found = unit_index_.find(unit.name);
  if (found == unit_index_.end()) {
    throw run_error("unit ", unit.name, " runs, but the engine was not given its parameters");
  }
  return found->second;
}

void Engine::before_forward(const nn::UnitId& unit) {
  if (gatherer_) gatherer_->before_forward(index_of(unit));
}

void Engine::after_forward(const nn::UnitId& unit) {
  if (gatherer_) {
    gatherer_->after_forward(index_of(unit), in_step_ && at::GradMode::is_enabled());
  }
}

void Engine::before_backward(const nn::UnitId& unit) {
  if (gatherer_) gatherer_->before_backward(index_of(unit));
}

void Engine::after_backward(const nn::UnitId& unit) {
  if (!gatherer_) return;
  const size_t index = index_of(unit);
  gatherer_->after_backward(index);
  for (const size_t bucket : unit_buckets_[index]) arrivals_.end_unit(bucket);
  launch(/*even_if_not_complete=*/false);
}

WholeValues::WholeValues(Engine& engine) : engine_(engine) {
  for (const auto& bucket : engine_.buckets_) bucket->acquire();
  for (const auto& bucket : engine_.buckets_) bucket->wait_values();
}

WholeValues::~WholeValues() {
  for (const auto& bucket : engine_.buckets_) bucket->release();
}

}  // namespace trireme::parallel
