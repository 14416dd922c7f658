#include "trireme/plan/played_engine.h"

#include <algorithm>
#include <cmath>

#include "trireme/comm/group.h"

namespace trireme::plan {
namespace {

constexpr int64_t kChunkBytes = 25 << 20;  // EngineOptions::chunk_bytes

// Different words among `tokens` of a text (Heaps' law, with the constants of English word pieces).
int64_t distinct_words(int64_t tokens, int64_t vocabulary) {
  return std::min<int64_t>(vocabulary,
                           static_cast<int64_t>(7 * std::pow(static_cast<double>(tokens), 0.62)));
}

}  // namespace

PlayedEngine::PlayedEngine(DryRun& run, const std::vector<nn::UnitParams>& units,
                           const PlayedEngineOptions& options)
    : run_(run), options_(options), shards_(options.zero >= 1 ? run.ranks(Axis::kData) : 1) {
  const bool grouped = run_.ranks(Axis::kData) > 1;
  const int64_t element = bytes_of(run_.dtype());
  joined_ = sharded() && run_.peers(Axis::kData).hosts == 1;
  const auto layouts =
      parallel::lay_out(units, static_cast<int>(shards_),
                        joined_ ? comm::kJoinedBytes / element : parallel::kAlignment);
  for (const parallel::FlatLayout& layout : layouts) {
    Bucket bucket;
    bucket.numel = layout.numel;
    bucket.own = layout.numel / shards_;
    for (const parallel::Slot& slot : layout.slots) {
      held_.numel += slot.numel;
      if (slot.param->spec.tp == nn::TpKind::kReplicatedPartialGrad) partial_ += slot.numel;
      const nn::ParamSpec& spec = slot.param->spec;
      int holders = 0;
      for (const nn::UnitParams& unit : units) {
        holders += static_cast<int>(std::count(unit.params.begin(), unit.params.end(), slot.param));
      }
      if (options_.zero == 0 && grouped && spec.sparse_grad && holders == 1) {
        bucket.sparse_numel = slot.numel;
        bucket.sparse_rows = spec.shape[0];
        bucket.sparse_columns = slot.numel / std::max<int64_t>(spec.shape[0], 1);
      }
      for (size_t u = 0; u < units.size(); ++u) {
        const auto& params = units[u].params;
        const bool uses = std::find(params.begin(), params.end(), slot.param) != params.end();
        const bool known =
            std::find(bucket.units.begin(), bucket.units.end(), u) != bucket.units.end();
        if (uses && !known) bucket.units.push_back(u);
      }
    }
    // As Bucket allocates: values, masters, gradients.
    const bool own_alone = joined_ || options_.zero >= 3;
    if (own_alone) {
      hold(run_.take_shared(Axis::kData, bucket.own * element));
    } else if (shards_ > 1) {
      hold(run_.take_shared(Axis::kData, bucket.numel * element));
    } else {
      hold(run_.take(bucket.numel * element));
    }
    held_.parameters += (own_alone ? bucket.own : bucket.numel) * element;
    if (run_.dtype() == Dtype::kBf16) {
      hold(run_.take(bucket.own * 4));
      held_.parameters += bucket.own * 4;
    }
    if (grads_come_and_go()) {
      hold(run_.take(bucket.own * 4));
      held_.gradients += bucket.own * 4;
    } else {
      hold(run_.take_shared(Axis::kData, bucket.numel * 4));
      held_.gradients += bucket.numel * 4;
    }
    buckets_.push_back(std::move(bucket));
  }
  for (const Bucket& bucket : buckets_) {
    for (int moment = 0; moment < 2; ++moment) hold(run_.take(bucket.own * 4));
    held_.optimizer += 2 * bucket.own * 4;
  }
  buckets_of_unit_.resize(units.size());
  cleared_.assign(units.size(), 0);
  for (const nn::UnitParams& unit : units) backward_reads_.push_back(unit.backward_reads_values);
  for (size_t b = 0; b < buckets_.size(); ++b) {
    for (const size_t u : buckets_[b].units) buckets_of_unit_[u].push_back(b);
  }
  for (size_t u = 0; u < units.size(); ++u) {
    if (units[u].name != "embeddings") continue;
    for (nn::Param* param : units[u].params) {
      int64_t numel = 1, holders = 0;
      for (const int64_t size : param->local_shape()) numel *= size;
      for (const nn::UnitParams& unit : units) {
        holders += std::count(unit.params.begin(), unit.params.end(), param);
      }
      if (holders == 1) cleared_[u] += numel;
    }
  }
  if (options_.loads_weights) {
    int64_t largest = 0;
    for (const parallel::FlatLayout& layout : layouts) {
      for (const parallel::Slot& slot : layout.slots) {
        largest = std::max(largest, slot.param->spec.numel());
      }
    }
    const Block whole = run_.take(largest * 4);
  }
}

void PlayedEngine::begin_step(int64_t micro_batches, int64_t tokens) {
  micro_batches_ = micro_batches;
  micro_batch_ = 0;
  tokens_ = tokens;
  for (Bucket& bucket : buckets_) {
    bucket.open_units = bucket.units.size();
    bucket.reduced = false;
  }
}

void PlayedEngine::acquire(size_t unit) {
  for (const size_t b : buckets_of_unit_[unit]) {
    Bucket& bucket = buckets_[b];
    if (bucket.users++ > 0) continue;
    bucket.whole_value = run_.take(run_.matrix(1, bucket.numel));
    run_.start(Axis::kData, LinkOp::kAllGather, run_.matrix(1, bucket.numel), /*in_arena=*/true);
  }
}

void PlayedEngine::release(size_t unit) {
  for (const size_t b : buckets_of_unit_[unit]) {
    if (--buckets_[b].users == 0) buckets_[b].whole_value = nullptr;
  }
}

// One unit ahead of need, as parallel::Gatherer does.
void PlayedEngine::before_forward(size_t unit) {
  if (!gathers()) return;
  if (unit == 0) acquire(0);
  if (unit + 1 < buckets_of_unit_.size()) acquire(unit + 1);
}

void PlayedEngine::after_forward(size_t unit) {
  if (!gathers() || unit + 1 == buckets_of_unit_.size()) return;  // backward begins with it
  release(unit);
}

void PlayedEngine::before_backward(size_t unit) {
  if (gathers() && unit > 0 && backward_reads_[unit - 1]) acquire(unit - 1);
  const bool fresh = micro_batch_ == 0 || grads_come_and_go();
  if (fresh && cleared_[unit] > 0) run_.zero(cleared_[unit]);
  if (!grads_come_and_go()) return;
  for (const size_t b : buckets_of_unit_[unit]) {
    Bucket& bucket = buckets_[b];
    if (bucket.whole_grad == nullptr) {
      bucket.whole_grad = run_.take_shared(Axis::kData, bucket.numel * 4);
    }
  }
}

void PlayedEngine::after_backward(size_t unit) {
  if (gathers() && backward_reads_[unit]) release(unit);
  for (const size_t b : buckets_of_unit_[unit]) {
    Bucket& bucket = buckets_[b];
    if (--bucket.open_units > 0) continue;
    const bool now = grads_come_and_go() || micro_batch_ + 1 == micro_batches_;
    if (!now) continue;
    reduce(bucket);
    if (!grads_come_and_go()) continue;
    for (const size_t before : under_way_) buckets_[before].whole_grad = nullptr;
    under_way_ = {b};
  }
}

void PlayedEngine::reduce(Bucket& bucket) {
  const int64_t bytes = bucket.numel * 4;
  if (options_.zero >= 1) {
    run_.start(Axis::kData, LinkOp::kReduceScatter, bytes, /*in_arena=*/true);
    return;
  }
  int64_t dense = bytes - bucket.sparse_numel * 4;
  const int64_t chunks = (dense + kChunkBytes - 1) / kChunkBytes;
  for (int64_t c = 0; c < chunks; ++c) {
    run_.start(Axis::kData, LinkOp::kAllReduce, dense / chunks, /*in_arena=*/true);
  }
  if (bucket.sparse_numel > 0 && run_.ranks(Axis::kData) > 1) sum_sparse_rows(bucket);
}

// parallel/sparse_rows.h: which rows some rank touched, and those rows.
void PlayedEngine::sum_sparse_rows(const Bucket& bucket) {
  run_.grad_norm(bucket.sparse_numel);  // reads all of it
  run_.communicate(Axis::kData, LinkOp::kAllReduce, bucket.sparse_rows * 4, /*in_arena=*/false);
  const int64_t elements = distinct_words(tokens_, bucket.sparse_rows) * bucket.sparse_columns;
  const Block sum = run_.take(elements * 4);
  for (int copy = 0; copy < 2; ++copy) run_.row_op(RowOp::kConcat, elements);
  run_.communicate(Axis::kData, LinkOp::kAllReduce, elements * 4, /*in_arena=*/false);
}

void PlayedEngine::end_micro_batch() {
  if (grads_come_and_go()) {
    run_.wait_for_all();
    for (const size_t b : under_way_) buckets_[b].whole_grad = nullptr;
    under_way_.clear();
  }
  ++micro_batch_;
  for (Bucket& bucket : buckets_) bucket.open_units = bucket.units.size();
}

void PlayedEngine::finish_step() {
  run_.wait_for_all();
  // Norms and biases, of which each tp rank has seen its own rows alone.
  if (options_.sequence_parallel) {
    run_.communicate(Axis::kTp, LinkOp::kAllReduce, partial_ * 4, /*in_arena=*/false);
  }
}

void PlayedEngine::update() {
  int64_t own = 0;
  for (const Bucket& bucket : buckets_) own += bucket.own;
  run_.grad_norm(own);
  if (sharded()) run_.communicate(Axis::kData, LinkOp::kAllReduce, 8, /*in_arena=*/false);
  run_.optimizer(own);
  if (joined_) run_.communicate(Axis::kData, LinkOp::kAllReduce, 8, /*in_arena=*/false);
  if (!sharded() || joined_ || options_.zero >= 3) return;
  for (const Bucket& bucket : buckets_) {
    run_.communicate(Axis::kData, LinkOp::kAllGather, run_.matrix(1, bucket.numel),
                     /*in_arena=*/true);
  }
}

}  // namespace trireme::plan
