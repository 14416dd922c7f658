#include "trireme/kernels/attention_tile.h"

#include <ATen/ATen.h>

#include "trireme/base/error.h"
#include "trireme/kernels/isa.h"
#include "trireme/kernels/row_dropout.h"

namespace trireme::kernels {

Heads::Heads(const at::Tensor& x)
    : data(static_cast<char*>(x.data_ptr())),
      row_stride(x.stride(0)),
      head_stride(x.stride(1)),
      element_bytes(static_cast<int64_t>(x.element_size())) {}

void check_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const AttentionOptions& options) {
  const bool dtype_ok = q.scalar_type() == at::kFloat || q.scalar_type() == at::kBFloat16;
  if (!dtype_ok || k.scalar_type() != q.scalar_type() || v.scalar_type() != q.scalar_type()) {
    throw input_error("attention takes q, k, v alike in fp32 or bf16");
  }
  if (q.dim() != 3 || k.dim() != 3 || k.sizes() != v.sizes() || q.size(2) != k.size(2)) {
    throw input_error("attention takes q [T, Nq, D] and k, v [Tk, Nkv, D]; got q ", q.sizes(),
                      ", k ", k.sizes(), ", v ", v.sizes());
  }
  if (k.size(1) == 0 || q.size(1) % k.size(1) != 0) {
    throw input_error(q.size(1), " query heads do not divide over ", k.size(1), " key heads");
  }
  for (const at::Tensor* x : {&q, &k, &v}) {
    if (x->stride(2) != 1) throw input_error("attention needs the head dimension dense");
  }
  if (options.scale < 0) throw input_error("a negative attention scale: ", options.scale);
}

TileMath::TileMath(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   const AttentionOptions& options)
    : ops_(q.scalar_type() == at::kFloat ? ops_table().fp32 : ops_table().bf16),
      dtype_(q.scalar_type()),
      q_(q),
      k_(k),
      v_(v),
      head_size_(q.size(2)),
      group_(q.size(1) / k.size(1)),
      scale_(static_cast<float>(options.scale)),
      causal_(options.causal),
      drop_(row_dropout(options.dropout, options.key)) {}

// Of one head's probabilities.
isa::RowDropout TileMath::dropout(int64_t head) const {
  isa::RowDropout drop = drop_;
  drop.site += static_cast<uint32_t>(head);
  return drop;
}

int32_t TileMath::sample(const Tile& tile) const {
  return drop_.threshold ? drop_.row_sample[tile.row] : 0;
}

void TileMath::scores(const Tile& tile, int64_t head, float* out) const {
  gemm(dtype_, tile.rows, tile.keys, head_size_, q_.matrix(tile.row, head),
       k_.matrix(tile.key_row, head / group_, true), 0.0f, out, tile.keys);
}

void TileMath::probabilities(const Tile& tile, int64_t head, float* scores, void* probs,
                             float* lse) const {
  this->scores(tile, head, scores);
  ops_.softmax(scores, scale_, causal_, dropout(head), sample(tile), tile.position,
               tile.key_position, probs, lse, tile.rows, tile.keys);
}

void TileMath::values(const Tile& tile, int64_t head, const void* probs, Sum out) const {
  gemm(dtype_, tile.rows, head_size_, tile.keys, {probs, tile.keys},
       v_.matrix(tile.key_row, head / group_), 0.0f, out.data, out.stride);
}

void TileMath::backward(const Tile& tile, int64_t head, const Heads& d_out, const float* lse,
                        const float* delta, const Scratch& scratch, Sum dq, float dq_beta, Sum dk,
                        Sum dv) const {
  const int64_t rows = tile.rows, keys = tile.keys, D = head_size_, key_head = head / group_;
  scores(tile, head, scratch.scores);
  gemm(dtype_, rows, keys, D, d_out.matrix(tile.row, head), v_.matrix(tile.key_row, key_head, true),
       0.0f, scratch.d_probs, keys);
  ops_.softmax_backward(scratch.scores, scratch.d_probs, lse, delta, scale_, causal_, dropout(head),
                        sample(tile), tile.position, tile.key_position, scratch.probs,
                        scratch.d_scores, rows, keys);
  gemm(dtype_, keys, D, rows, {scratch.probs, keys, true}, d_out.matrix(tile.row, head), 1.0f,
       dv.data, dv.stride);
  gemm(dtype_, keys, D, rows, {scratch.d_scores, keys, true}, q_.matrix(tile.row, head), 1.0f,
       dk.data, dk.stride);
  gemm(dtype_, rows, D, keys, {scratch.d_scores, keys}, k_.matrix(tile.key_row, key_head), dq_beta,
       dq.data, dq.stride);
}

}  // namespace trireme::kernels
