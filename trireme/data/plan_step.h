// Which rank runs which samples of a global batch, and in which micro-batch. A pure function of the
// lengths: every rank plans for all, so all shapes are known without a message.
//
//   StepPlan plan = plan_step(lengths, {.dp = 2, .micro_batch_tokens = 2048});
//   for (const MicroBatch& micro : plan.ranks[my_dp_rank]) run(pack(micro.samples, micro.rows));
//
// The global batch is cut from the epoch's order before and is the same for every layout; here each
// of its samples lands in exactly one micro-batch. Samples are dealt longest first, each to the
// lightest micro-batch that is left (Graham's LPT rule), then micro-batches to ranks, so that
//   - any two micro-batches of a step differ by at most its longest sample, in tokens,
//   - so do the totals of any two ranks,
//   - the number of micro-batches is the smallest at which that deal fits.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace trireme::data {

// Tensors of a micro-batch have a multiple of this many rows: kernel caches are keyed by shape.
inline constexpr int64_t kRowMultiple = 64;

struct PlanOptions {
  int dp = 1;                      // data-parallel ranks
  int cp = 1;                      // ranks that share one micro-batch, each with 1 / cp of its rows
  int64_t micro_batch_tokens = 0;  // the most that one rank holds of a micro-batch, in tokens
};

struct MicroBatch {
  std::vector<int32_t> samples;  // ordinals in the global batch, rising; may be empty
  int64_t tokens = 0;            // sum of their lengths
  int64_t rows = 0;  // tokens rounded up to 64 x cp, and 64 x cp when empty: padding at weight 0
};

struct StepPlan {
  std::vector<std::vector<MicroBatch>> ranks;  // [dp][micro_batches], the same count for each rank
  int64_t tokens = 0;                          // of the whole global batch

  int64_t micro_batches() const {
    return ranks.empty() ? 0 : static_cast<int64_t>(ranks[0].size());
  }
};

// `lengths`: tokens of each sample of the global batch, by ordinal; each at least 1.
// Throws input_error for a sample longer than micro_batch_tokens x cp, naming it and the limit, and
// for options below 1. An empty global batch is one empty micro-batch for each rank.
StepPlan plan_step(std::span<const int32_t> lengths, const PlanOptions& options);

}  // namespace trireme::data
