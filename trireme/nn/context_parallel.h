// Context parallel: the ranks of a group share one packed batch, each with a part of every long
// sequence (data/cp_layout.h). Layers work on rows and need not know; attention does, and losses
// over whole sequences.
//
//   auto cp = std::make_shared<const ContextParallel>(group, CpMethod::kRing,
//                                                     data::cp_shard(whole, rank, size));
//   context.cp = cp;
//   context.dropout = cp->shard().batch.dropout_key(seed, step);
//   loss = task.loss(cp->shard().batch, context, counts);     // this rank's share
//
// Losses and gradients of the ranks add up to those of one process with the whole batch. All ranks
// of the group run the same layers in the same order, forward and backward.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "trireme/comm/group.h"
#include "trireme/data/cp_shard.h"
#include "trireme/kernels/attention.h"
#include "trireme/kernels/attention_part.h"

namespace trireme::nn {

// How a rank's queries meet the keys of the others.
enum class CpMethod {
  // Keys and values go round, each rank passing on what it has while it computes with it (Liu et
  // al., "Ring Attention with Blockwise Transformers for Near-Infinite Context", 2023). Any number
  // of heads; memory for two parts of the keys.
  kRing,
  // Rows are exchanged for heads before attention and back behind it (Jacobs et al.,
  // "DeepSpeed-Ulysses", 2023): each rank has whole sequences of 1 / cp of the heads.
  kUlysses,
};

// Throws input_error when `heads` (of a tensor-parallel rank) do not divide over cp ranks, which
// kUlysses needs.
void check_ulysses_heads(int64_t heads, int cp);

// One batch's. Immutable; backward and recompute keep it alive.
class ContextParallel {
 public:
  // `shard` is of the group's rank and size. `group` outlives every backward of the batch.
  ContextParallel(comm::Group& group, CpMethod method, data::CpShard shard);

  comm::Group& group() const { return group_; }
  CpMethod method() const { return method_; }
  int rank() const { return group_.rank(); }
  int size() const { return group_.size(); }
  const data::CpShard& shard() const { return shard_; }
  // This rank's queries with rank `source`'s keys, where they have a sequence in common.
  const std::vector<kernels::SequenceRuns>& runs(int source) const {
    return runs_[static_cast<size_t>(source)];
  }

 private:
  comm::Group& group_;
  CpMethod method_;
  data::CpShard shard_;
  std::vector<std::vector<kernels::SequenceRuns>> runs_;  // [cp]
};

using ContextParallelPtr = std::shared_ptr<const ContextParallel>;

// nn::self_attention over the group: qkv [rows, 3 * heads * D] of this rank's rows (q | k | v) ->
// [rows, heads * D]. options.dropout.site is that of the first of these heads.
at::Tensor context_parallel_attention(const at::Tensor& qkv, int64_t heads,
                                      const kernels::AttentionOptions& options,
                                      const ContextParallelPtr& cp);

// All ranks' rows in the order of the whole batch: [rows, n] -> [real tokens of the whole, n], on
// every rank. Each then computes the same loss over whole sequences, and backward takes its own
// rows' gradients.
at::Tensor gather_sequences(const at::Tensor& x, const ContextParallelPtr& cp);
// Such a loss, which counts once in the sum over the ranks: its value on rank 0, zero on the
// others; its gradient on all.
at::Tensor counted_once(const at::Tensor& loss, const ContextParallelPtr& cp);

}  // namespace trireme::nn
