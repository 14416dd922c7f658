// Attention to keys that come a part at a time, as those of other ranks do: each part's result is
// merged into what is there by the rows' log-sum-exp, in fp32 (Milakov and Gimelshein, "Online
// normalizer calculation for softmax", 2018; Liu et al., "Ring Attention with Blockwise
// Transformers for Near-Infinite Context", 2023, section 3). Gradients are added a part at a time,
// too.
//
//   AttentionSums sums = attention_sums(T, heads, D);
//   for (...) attention_add(q, k_part, v_part, sequences, options, sums);   // in any order
//   out = sums.out.to(q.scalar_type());
//   delta = attention_delta(d_out, out);
//   for (...) attention_backward_add(d_out, delta, sums.lse, q, k_part, v_part, sequences, options,
//                                    dq, dk_part, dv_part);
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "trireme/kernels/attention.h"

namespace trireme::kernels {

// Rows of a sequence that lie side by side in a tensor.
struct RowRun {
  int32_t row = 0;    // the first in the tensor
  int32_t rows = 0;   // at least 1
  int32_t start = 0;  // the first one's position in the sequence
};

// What is here of one sequence: every one of these queries attends to every one of these keys,
// except, under a causal mask, to later ones. Positions count for the mask and for the draws of
// dropout alike, so that a part draws what the whole would.
struct SequenceRuns {
  std::vector<RowRun> queries, keys;
};

struct AttentionSums {
  at::Tensor out;  // fp32 [T, Nq, D], zero in rows that have seen no key
  at::Tensor lse;  // fp32 [Nq, T], -infinity there
};

// Of queries that have seen nothing.
AttentionSums attention_sums(int64_t rows, int64_t heads, int64_t head_size);

// q [T, Nq, D]; k, v [Tk, Nkv, D]: as attention() takes them. A row is in one run of queries at
// most, a key in one run of keys.
void attention_add(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   std::span<const SequenceRuns> sequences, const AttentionOptions& options,
                   AttentionSums& sums);

// d_out . out of each row and head: fp32 [Nq, T].
at::Tensor attention_delta(const at::Tensor& d_out, const at::Tensor& out);

// Adds this part's gradients to dq [T, Nq, D], dk and dv [Tk, Nkv, D]: fp32, the last dim dense.
// lse is that of all parts.
void attention_backward_add(const at::Tensor& d_out, const at::Tensor& delta, const at::Tensor& lse,
                            const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            std::span<const SequenceRuns> sequences,
                            const AttentionOptions& options, at::Tensor dq, at::Tensor dk,
                            at::Tensor dv);

}  // namespace trireme::kernels
