// Losses as sums over packed rows, each divided by a count of the whole global batch that the
// caller knows: micro-batches and ranks then simply add up to the global mean.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "trireme/kernels/seq_info.h"
#include "trireme/nn/context.h"
#include "trireme/nn/param.h"

namespace trireme::nn {

// Extractive QA: for each sequence, half the cross entropy of its start and half that of its end
// over its own rows. logits fp32 [T, 2] (start | end); starts, ends int64 [B], rows in the
// sequence. Returns the fp32 scalar sum over sequences / count. Throws input_error on a label
// outside its sequence.
at::Tensor span_loss(const at::Tensor& logits_t2, const at::Tensor& starts_b,
                     const at::Tensor& ends_b, const kernels::SeqInfo& seq, int64_t count);

// Sum of the rows' cross entropies / count. logits [T, V], fp32 or bf16, are used up (they become
// their gradient); labels int64 [T], -1 (or HF's -100) for rows that do not count.
at::Tensor cross_entropy(const at::Tensor& logits_tv, const at::Tensor& labels_t, int64_t count);

// How much of the logits exists at once in linear_cross_entropy.
struct LogitsMemory {
  int64_t chunk_rows = 1024;
  int64_t kept_bytes = 512 << 20;  // of logits' gradients that wait for backward
};

// cross_entropy(x W^T, labels, count), W [V, H], a chunk of rows at a time: what a vocabulary of
// 50,257 makes of a batch is never there as a whole. Forward leaves the gradient in a chunk's
// logits; backward multiplies it, and makes again the chunks that were too many to keep.
//
// Where tensor parallelism cuts W, by rows, every rank has all rows of x: each makes the logits
// of its words, the ranks exchange three numbers a row, and x's gradient is this rank's share
// (all_rows(x, RowUse::kCut, context) before sums it). The loss is the same bits on all ranks.
at::Tensor linear_cross_entropy(const at::Tensor& x_th, Param& weight, const at::Tensor& labels_t,
                                int64_t count, const Context& context,
                                const LogitsMemory& memory = {});

}  // namespace trireme::nn
