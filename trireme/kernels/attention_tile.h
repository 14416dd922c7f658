// The arithmetic of attention on one tile: some query rows of one head against some keys of the
// same sequence. Which tiles there are, and where their results are summed, is attention.cc's and
// attention_part.cc's.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstdint>

#include "trireme/kernels/attention.h"
#include "trireme/kernels/gemm.h"
#include "trireme/kernels/isa/ops_table.h"

namespace trireme::kernels {

// Scores of a tile, rows x keys floats, stay in the second-level cache.
inline constexpr int64_t kTileScores = 64 * 1024;
inline constexpr int64_t kMinTileRows = 16;

inline int32_t tile_rows(int64_t keys) {
  const int64_t rows = kTileScores / std::max<int64_t>(keys, 1) / kMinTileRows * kMinTileRows;
  return static_cast<int32_t>(std::max(rows, kMinTileRows));
}

// One operand [T, N, D] with element access by (row, head).
struct Heads {
  char* data;
  int64_t row_stride;   // in elements
  int64_t head_stride;  // in elements
  int64_t element_bytes;

  explicit Heads(const at::Tensor& x);
  void* at(int64_t row, int64_t head) const {
    return data + (row * row_stride + head * head_stride) * element_bytes;
  }
  MatrixView matrix(int64_t row, int64_t head, bool transposed = false) const {
    return {at(row, head), row_stride, transposed};
  }
};

// Where products of some rows of one head are summed, in fp32.
struct Sum {
  float* data;
  int64_t stride;
};

inline Sum sum_in(const Heads& x, int64_t row, int64_t head) {
  return {static_cast<float*>(x.at(row, head)), x.row_stride};
}

struct Tile {
  int64_t row, rows;  // of queries
  int64_t key_row, keys;
  int32_t position;      // of the first query in its sequence
  int32_t key_position;  // of the first key

  int64_t scores() const { return rows * keys; }
  // Without the keys behind what its last query sees; none may be left.
  Tile seen(bool causal) const {
    Tile tile = *this;
    const int64_t in_sight = int64_t{position} + rows - key_position;
    if (causal) tile.keys = std::clamp<int64_t>(in_sight, 0, keys);
    return tile;
  }
};

// Throws input_error unless q [T, Nq, D], k and v [Tk, Nkv, D] are what attention.h takes.
void check_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                     const AttentionOptions& options);

// Tensors and options must outlive it.
class TileMath {
 public:
  TileMath(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
           const AttentionOptions& options);

  // probs [rows, keys] in q's dtype, after dropout, and lse of each row; `scores` (fp32, as many)
  // is used up. Needs a key.
  void probabilities(const Tile& tile, int64_t head, float* scores, void* probs, float* lse) const;
  // out = probs V
  void values(const Tile& tile, int64_t head, const void* probs, Sum out) const;

  // Room for tile.scores() elements each: fp32, fp32, q's dtype twice.
  struct Scratch {
    float *scores, *d_probs;
    void *probs, *d_scores;
  };
  // dq = dq_beta * dq + its gradient; dk and dv += theirs. delta[i] = d_out_i . out_i.
  void backward(const Tile& tile, int64_t head, const Heads& d_out, const float* lse,
                const float* delta, const Scratch& scratch, Sum dq, float dq_beta, Sum dk,
                Sum dv) const;

  const isa::ElementOps& ops() const { return ops_; }
  at::ScalarType dtype() const { return dtype_; }

 private:
  isa::RowDropout dropout(int64_t head) const;
  int32_t sample(const Tile& tile) const;
  void scores(const Tile& tile, int64_t head, float* out) const;

  const isa::ElementOps& ops_;
  at::ScalarType dtype_;
  Heads q_, k_, v_;
  int64_t head_size_, group_;  // query heads of a key head
  float scale_;
  bool causal_;
  isa::RowDropout drop_;
};

}  // namespace trireme::kernels
