// The vectorised row kernels as plain functions in a table, one table an instruction set; ops.cc
// picks one at start. All work on rows [begin, end) of row-major matrices; dtype-templated members
// come in pairs (fp32, bf16).
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace trireme::kernels::isa {

// Dropout of a whole matrix: row t has sample row_sample[t] and position row_position[t]; threshold
// 0 is no dropout.
struct RowDropout {
  uint32_t key0 = 0, key1 = 0;
  uint32_t site = 0;
  uint32_t threshold = 0;  // of 65536
  float scale = 1.0f;      // of what is kept
  const int32_t* row_sample = nullptr;
  const int32_t* row_position = nullptr;
};

// Pointers to elements are void: fp32 or bf16 by the table's member.
struct ElementOps {
  // y = gelu(h + bias), the erf or the tanh form. [T, n]
  void (*bias_gelu)(bool tanh_form, const void* h, const void* bias, void* y, int64_t n,
                    int64_t begin, int64_t end);
  // dh = dy * gelu'(h + bias); bias_grad[n] += column sums of dh.
  void (*bias_gelu_backward)(bool tanh_form, const void* dy, const void* h, const void* bias,
                             void* dh, float* bias_grad, int64_t n, int64_t begin, int64_t end);
  // s = dropout(y + bias) + residual; z = layer_norm(s) * gamma + beta. bias, residual may be null.
  // s null: nothing is added to y, which is s. mean, rstd: [T].
  void (*dropout_add_norm)(const void* y, const void* bias, const void* residual, const void* gamma,
                           const void* beta, float epsilon, const RowDropout& drop, void* s,
                           void* z, float* mean, float* rstd, int64_t n, int64_t begin,
                           int64_t end);
  // ds from dz, plus ds_used, the gradient of s from its other use (may be null), and dy = ds under
  // the dropout's mask (dy may be ds itself without dropout); column sums are added to bias_grad
  // (of dy; may be null), gamma_grad, beta_grad.
  void (*dropout_add_norm_backward)(const void* dz, const void* ds_used, const void* s,
                                    const void* gamma, const float* mean, const float* rstd,
                                    const RowDropout& drop, void* ds, void* dy, float* bias_grad,
                                    float* gamma_grad, float* beta_grad, int64_t n, int64_t begin,
                                    int64_t end);
  // s = dropout(y + bias) + residual
  void (*dropout_add)(const void* y, const void* bias, const void* residual, const RowDropout& drop,
                      void* s, int64_t n, int64_t begin, int64_t end);
  // y = dropout(x)
  void (*dropout)(const void* x, const RowDropout& drop, void* y, int64_t n, int64_t begin,
                  int64_t end);
  // sums[n] += column sums of x
  void (*column_sums)(const void* x, float* sums, int64_t n, int64_t begin, int64_t end);
  // y = sum of rows a[ia[t]] + b[ib[t]] (+ c[ic[t]] when c is not null)
  void (*embedding_sum)(const void* a, const int64_t* ia, const void* b, const int64_t* ib,
                        const void* c, const int64_t* ic, void* y, int64_t n, int64_t begin,
                        int64_t end);
  // table[index[t]] += x[t], in row order (index < rows; one thread)
  void (*scatter_add)(const void* x, const int64_t* index, float* table, int64_t n, int64_t begin,
                      int64_t end);

  // Attention of one head. Row i of a block is the query at first_position + i, column j the key at
  // first_key + j, which the causal see as long as it does not come later. scores are fp32 [rows,
  // keys], raw q.k. probs = dropout(softmax(scale * scores)), lse[i] = log sum exp of the scaled
  // row, -infinity where no key is seen. scores are used up.
  void (*softmax)(float* scores, float scale, bool causal, const RowDropout& drop, int32_t sample,
                  int32_t first_position, int32_t first_key, void* probs, float* lse, int64_t rows,
                  int64_t keys);
  // From scores, lse, d_probs (= dO V^T, fp32), delta[i] = dO_i . O_i: probs (after dropout, for
  // dV) and d_scores = scale * p * (mask * d_probs - delta).
  void (*softmax_backward)(const float* scores, const float* d_probs, const float* lse,
                           const float* delta, float scale, bool causal, const RowDropout& drop,
                           int32_t sample, int32_t first_position, int32_t first_key, void* probs,
                           void* d_scores, int64_t rows, int64_t keys);
  // delta[i] = sum over d of a[i, d] * b[i, d]; row strides in elements.
  void (*row_dots)(const void* a, int64_t a_stride, const void* b, int64_t b_stride, float* delta,
                   int64_t rows, int64_t n);
  // out[i, :] = x[i, :] (fp32 to the element type), row strides in elements.
  void (*store_rows)(const float* x, int64_t x_stride, void* out, int64_t out_stride, int64_t rows,
                     int64_t n);

  // Cross entropy of rows of logits [T, n] against labels (-1: none): loss_sum += sum of -log
  // softmax, and logits become their gradient, (softmax - onehot) * grad_scale, zero where there is
  // no label.
  void (*cross_entropy)(void* logits, const int64_t* labels, float grad_scale, double* loss_sum,
                        int64_t n, int64_t begin, int64_t end);
  // The same in two steps where logits are columns [first, first + n) of wider ones: sums[t] =
  // {largest, sum of exponentials relative to it, the label's logit or 0 where it is elsewhere} of
  // these columns; then the gradient by the sums of all columns.
  void (*cross_entropy_part_sums)(const void* logits, const int64_t* labels, int64_t first,
                                  float* sums, int64_t n, int64_t begin, int64_t end);
  void (*cross_entropy_part_gradient)(void* logits, const int64_t* labels, int64_t first,
                                      const float* sums, float grad_scale, int64_t n, int64_t begin,
                                      int64_t end);
};

// What the ranks' buffers become; kAvg divides the sum by the number of sources (integers towards
// zero).
enum class Reduction { kSum, kMin, kMax, kAvg };

// dst[0..n_dst)[i] = src[0][i] op src[1][i] op ..., i < n, in that order; a dst may be a src.
// 16-bit types are combined in fp32 and rounded once.
typedef void (*Reduce)(Reduction op, const void* const* src, int n_src, void* const* dst, int n_dst,
                       int64_t n);
struct ReduceOps {
  Reduce fp32, fp64, fp16, bf16, int32, int64;
};

struct OpsTable {
  const char* name;  // "avx512", "avx2", "plain"
  ElementOps fp32;
  ElementOps bf16;
  ReduceOps reduce;
  // draws[0..n) of 16 bits for one row: the definition of dropout, for tests. n is rounded up to a
  // multiple of 128 in the buffer.
  void (*draws)(const RowDropout& drop, int32_t sample, int32_t position, uint16_t* out, int64_t n);
};

extern const OpsTable kOpsPlain;
#if defined(__x86_64__)
extern const OpsTable kOpsAvx2;
extern const OpsTable kOpsAvx512;
#endif

}  // namespace trireme::kernels::isa
