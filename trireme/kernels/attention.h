// Attention over packed sequences: no padding, no [L, L] tensor kept for backward (only the
// log-sum-exp of each row). Rows are computed in blocks of queries against all keys of the
// sequence; probabilities exist a block at a time. Backward recomputes them from lse (Dao et al.,
// FlashAttention-2, section 3.1; blocks over queries only).
#pragma once

#include <ATen/core/Tensor.h>

#include "trireme/kernels/dropout.h"
#include "trireme/kernels/seq_info.h"

namespace trireme::kernels {

struct AttentionOptions {
  bool causal = false;
  double scale = 1.0;  // of q.k; may not be negative
  Dropout dropout;     // of the probabilities; the head is added to the site
  DropoutKey key;      // read only when dropout.p > 0
};

struct AttentionResult {
  at::Tensor out;  // [T, Nq, D], zero in rows that belong to no sequence
  at::Tensor lse;  // fp32 [Nq, T]
};

// q [T, Nq, D]; k, v [Tk, Nkv, D]; Nq a multiple of Nkv (grouped heads); fp32 or bf16, all alike;
// the last two dims dense, the row stride free (slices of one fused product do).
AttentionResult attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const SeqInfo& seq, const AttentionOptions& options);

// Gradients written into dq, dk, dv (of q's, k's, v's shapes, strides as there); rows of no
// sequence become zero.
void attention_backward(const at::Tensor& d_out, const at::Tensor& q, const at::Tensor& k,
                        const at::Tensor& v, const AttentionResult& forward, const SeqInfo& seq,
                        const AttentionOptions& options, at::Tensor dq, at::Tensor dk,
                        at::Tensor dv);

}  // namespace trireme::kernels
