// Fused element-wise kernels over packed rows, forward and backward, on tensors: shapes checked,
// rows divided over threads, column sums added in a fixed order (the same bits for the same number
// of threads). Activations are fp32 or bf16 [T, n]; arithmetic is fp32. Gradients of parameters are
// added into fp32 tensors; an undefined one is not wanted.
#pragma once

#include <ATen/core/Tensor.h>

#include "trireme/kernels/dropout.h"

namespace trireme::kernels {

// Gaussian error linear unit (Hendrycks and Gimpel, 2016): x Phi(x), or its tanh approximation
// (Hugging Face's gelu_new, which GPT-2 was trained with).
enum class Gelu { kErf, kTanh };

// gelu(h + bias).
at::Tensor bias_gelu(Gelu form, const at::Tensor& h_tn, const at::Tensor& bias_n);
// Returns dh; bias_grad += column sums of dh.
at::Tensor bias_gelu_backward(Gelu form, const at::Tensor& dy_tn, const at::Tensor& h_tn,
                              const at::Tensor& bias_n, at::Tensor bias_grad_n);

// layer_norm(dropout(y + bias) + residual) * gamma + beta; bias and residual may be undefined.
struct NormInput {
  at::Tensor y_tn, bias_n, residual_tn;
  at::Tensor gamma_n, beta_n;
  double epsilon = 1e-12;
  Dropout dropout;
  DropoutKey key;
};
struct NormResult {
  at::Tensor out_tn;
  at::Tensor sum_tn;          // dropout(y + bias) + residual: kept for backward; y when it is that
  at::Tensor mean_t, rstd_t;  // fp32
};
NormResult dropout_add_norm(const NormInput& input);
struct NormGrads {
  at::Tensor dy_tn;          // of y
  at::Tensor d_residual_tn;  // of the residual (dy itself without dropout)
};
// d_sum_tn: the gradient of the sum from its other use; undefined: none.
NormGrads dropout_add_norm_backward(const at::Tensor& dz_tn, const at::Tensor& d_sum_tn,
                                    const NormInput& input, const NormResult& forward,
                                    at::Tensor bias_grad_n, at::Tensor gamma_grad_n,
                                    at::Tensor beta_grad_n);

// dropout(y + bias) + residual
at::Tensor dropout_add(const at::Tensor& y_tn, const at::Tensor& bias_n,
                       const at::Tensor& residual_tn, const Dropout& dropout,
                       const DropoutKey& key);

// dropout(x); its backward is itself on the gradient.
at::Tensor dropout(const at::Tensor& x_tn, const Dropout& dropout, const DropoutKey& key);

// sums[n] += column sums of x[T, n]: a bias's gradient.
void add_column_sums(const at::Tensor& x_tn, at::Tensor sums_n);

// a[ia] + b[ib] (+ c[ic] when c is defined): tables [rows, n], indexes int64 [T] within the tables
// (checked).
at::Tensor embedding_sum(const at::Tensor& a, const at::Tensor& ia, const at::Tensor& b,
                         const at::Tensor& ib, const at::Tensor& c, const at::Tensor& ic);
// table[index[t]] += x[t], in row order.
void scatter_add_rows(const at::Tensor& x_tn, const at::Tensor& index_t, at::Tensor table);

// Sum over rows of cross entropy, as double; logits [T, n] become their gradient times grad_scale.
// Rows with label -1 count nothing. Labels int64 [T].
double cross_entropy_inplace(at::Tensor logits_tn, const at::Tensor& labels_t, double grad_scale);

// The same where the logits are columns [first, first + n) of wider ones, in two steps. Labels are
// of the wide ones, and not checked.
// First fp32 [T, 3]: a row's largest logit, the sum of exponentials relative to it, and the label's
// logit (0 where that is in other columns). An empty part has {-inf, 0, 0}.
at::Tensor cross_entropy_part_sums(const at::Tensor& logits_tn, const at::Tensor& labels_t,
                                   int64_t first);
// Then, with the sums [T, 3] of all columns, the gradient times grad_scale in the logits' place.
void cross_entropy_part_gradient(at::Tensor logits_tn, const at::Tensor& labels_t, int64_t first,
                                 const at::Tensor& sums_t3, double grad_scale);

}  // namespace trireme::kernels
