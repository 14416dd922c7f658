#include "trireme/plan/rank_player.h"

#include <algorithm>
#include <numeric>

namespace trireme::plan {
namespace {

// comm/shm_layout.h: a rank's block of a group, and its staging halves.
constexpr int64_t kGroupBytes = (1 << 20) + 4096;
// Of a row of a batch: tokens, positions, labels or token types, draws; of steps made ahead, too.
constexpr int64_t kBatchRowBytes = 3 * 8 + 2 * 4, kStepsHeld = 3;

std::vector<nn::UnitParams> cut(const std::vector<nn::UnitParams>& units, size_t begin,
                                size_t end) {
  return {units.begin() + static_cast<ptrdiff_t>(begin),
          units.begin() + static_cast<ptrdiff_t>(end)};
}

}  // namespace

RankPlayer::RankPlayer(const PlanInput& input, const parallel::Layout& layout,
                       const DryRunOptions& options,
                       const std::vector<std::pair<size_t, size_t>>& chunks, bool first_rank)
    : input_(input),
      layout_(layout),
      run_(options),
      model_(input.sizes,
             {.recompute = layout.recompute, .sequence_parallel = layout.sequence_parallel}) {
  for (const Axis axis : {Axis::kPp, Axis::kData, Axis::kCp, Axis::kTp}) {
    if (run_.ranks(axis) > 1) group_blocks_.push_back(run_.take_shared(axis, kGroupBytes));
  }
  for (const auto& [begin, end] : chunks) {
    chunks_.push_back({begin,
                       end,
                       std::make_unique<PlayedEngine>(
                           run_, cut(units_of(input, layout), begin, end),
                           PlayedEngineOptions{.zero = layout.zero,
                                               .sequence_parallel = layout.sequence_parallel,
                                               .loads_weights = input.loads_weights && first_rank}),
                       {},
                       {}});
  }
  held_heap_ = run_.heap().bytes() + run_.arena().bytes();
}

HeldBytes RankPlayer::held() const {
  HeldBytes sum;
  for (const Chunk& chunk : chunks_) {
    const HeldBytes& part = chunk.engine->held();
    sum.parameters += part.parameters;
    sum.gradients += part.gradients;
    sum.optimizer += part.optimizer;
    sum.numel += part.numel;
  }
  return sum;
}

void RankPlayer::forward(Chunk& chunk, size_t micro_batch, const PlayedBatch& batch) {
  const int64_t boundary = model_.boundary_bytes(run_, batch);
  Block x;
  if (chunk.begin > 0) {
    x = run_.take_shared(Axis::kPp, boundary);
    run_.start(Axis::kPp, LinkOp::kSend, boundary, /*in_arena=*/true);
  }
  std::vector<Saved>& saved = chunk.saved[micro_batch];
  for (size_t u = chunk.begin; u < chunk.end; ++u) {
    chunk.engine->before_forward(u - chunk.begin);
    x = model_.forward(run_, static_cast<int64_t>(u), std::move(x), batch, &saved[u - chunk.begin]);
    chunk.engine->after_forward(u - chunk.begin);
  }
}

void RankPlayer::backward(Chunk& chunk, size_t micro_batch, const PlayedBatch& batch,
                          bool weights_later) {
  const bool last = model_.is_head(static_cast<int64_t>(chunk.end) - 1);
  const int64_t boundary = model_.boundary_bytes(run_, batch);
  Block dy;
  if (!last) {
    dy = run_.take_shared(Axis::kPp, boundary);
    run_.start(Axis::kPp, LinkOp::kSend, boundary, /*in_arena=*/true);
  }
  run_.defer(weights_later);
  std::vector<Saved>& saved = chunk.saved[micro_batch];
  for (size_t u = chunk.end; u-- > chunk.begin;) {
    chunk.engine->before_backward(u - chunk.begin);
    dy = model_.backward(run_, static_cast<int64_t>(u), std::move(dy), batch,
                         std::exchange(saved[u - chunk.begin], {}));
    if (!weights_later) chunk.engine->after_backward(u - chunk.begin);
  }
  run_.defer(false);
  if (weights_later) {
    chunk.deferred[micro_batch] = run_.take_deferred();
  } else {
    chunk.engine->end_micro_batch();
  }
}

std::vector<double> RankPlayer::step(const std::vector<PlayedBatch>& batches,
                                     const std::vector<PlayedAction>& actions,
                                     int64_t global_tokens) {
  int64_t rows = 0;
  for (const PlayedBatch& batch : batches) rows += batch.rows;
  batch_tensors_ = nullptr;
  batch_tensors_ = run_.take(rows * kBatchRowBytes * kStepsHeld);
  for (Chunk& chunk : chunks_) {
    chunk.saved.assign(batches.size(), std::vector<Saved>(chunk.end - chunk.begin));
    chunk.deferred.assign(batches.size(), {});
    chunk.engine->begin_step(static_cast<int64_t>(batches.size()), global_tokens);
  }
  run_.heap().reset_peak();
  std::vector<double> seconds;
  for (const PlayedAction& action : actions) {
    const double before = run_.seconds();
    Chunk& chunk = chunks_[action.chunk];
    const PlayedBatch& batch = batches[action.micro_batch];
    switch (action.kind) {
      case PlayedAction::Kind::kForward:
        forward(chunk, action.micro_batch, batch);
        break;
      case PlayedAction::Kind::kBackward:
        backward(chunk, action.micro_batch, batch, false);
        break;
      case PlayedAction::Kind::kBackwardInput:
        backward(chunk, action.micro_batch, batch, true);
        break;
      case PlayedAction::Kind::kBackwardWeight:
        run_.run_deferred(std::exchange(chunk.deferred[action.micro_batch], {}));
        for (size_t u = chunk.end - chunk.begin; u-- > 0;) chunk.engine->after_backward(u);
        chunk.engine->end_micro_batch();
        break;
    }
    seconds.push_back(run_.seconds() - before);
  }
  const double before = run_.seconds();
  for (Chunk& chunk : chunks_) chunk.engine->finish_step();
  // The loss, and two numbers of each rank.
  run_.communicate(Axis::kData, LinkOp::kAllReduce, 8 * (2 + 2 * layout_.world()), false);
  for (Chunk& chunk : chunks_) chunk.engine->update();
  update_s_ = run_.seconds() - before;
  peak_activations_ =
      std::max(peak_activations_, run_.heap().peak_bytes() + run_.arena().bytes() - held_heap_);
  return seconds;
}

}  // namespace trireme::plan
