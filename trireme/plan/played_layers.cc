#include "trireme/plan/played_layers.h"

#include <algorithm>

namespace trireme::plan {
namespace {

// kernels/attention.cc: scores of a block of queries stay in the second-level cache.
constexpr int64_t kBlockScores = 64 * 1024;
constexpr int64_t kMinBlockRows = 16;

int64_t block_rows(int64_t keys) {
  return std::max(kBlockScores / std::max<int64_t>(keys, 1) / kMinBlockRows * kMinBlockRows,
                  kMinBlockRows);
}

}  // namespace

Layers::Layers(DryRun& run, const ModelSizes& sizes, const PlayedBatch& batch,
               bool sequence_parallel)
    : run_(run),
      sizes_(sizes),
      batch_(batch),
      tp_(run.ranks(Axis::kTp)),
      sequence_(sequence_parallel && tp_ > 1),
      all_rows_(batch.rows),
      rows_(sequence_ ? batch.rows / tp_ : batch.rows) {}

Block Layers::partial(int64_t columns) {
  return run_.take_shared(Axis::kTp, run_.matrix(all_rows_, columns));
}

Block Layers::sum_over_ranks(Block partial, int64_t columns) {
  const int64_t bytes = run_.matrix(all_rows_, columns);
  if (!sequence_) {
    run_.communicate(Axis::kTp, LinkOp::kAllReduce, bytes, /*in_arena=*/true);
    return partial;
  }
  Block own = matrix(rows_, columns);
  run_.communicate(Axis::kTp, LinkOp::kReduceScatter, bytes, /*in_arena=*/true);
  return own;
}

Block Layers::gather_rows(int64_t columns) {
  const Block shared = run_.take_shared(Axis::kTp, run_.matrix(rows_, columns));
  run_.row_op(RowOp::kConcat, rows_ * columns);
  Block all = matrix(all_rows_, columns);
  run_.communicate(Axis::kTp, LinkOp::kAllGather, run_.matrix(all_rows_, columns),
                   /*in_arena=*/true);
  return all;
}

Block Layers::product(MatrixKind kind, Cut cut, int64_t in, int64_t out) {
  run_.nodes(1);
  if (tp_ == 1) cut = Cut::kNone;
  Block all;
  if (cut == Cut::kColumn && sequence_) all = gather_rows(in);
  if (cut == Cut::kColumn) out = local(out);
  if (cut == Cut::kRow) in = local(in);
  const int64_t T = cut == Cut::kNone ? rows_ : all_rows_;
  Block y = cut == Cut::kRow ? partial(out) : matrix(T, out);
  run_.product(kind == MatrixKind::kLinear ? Product::kLinear : Product::kMm, T, in, out);
  return cut == Cut::kRow ? sum_over_ranks(std::move(y), out) : y;
}

Block Layers::product_backward(MatrixKind kind, Cut cut, int64_t in, int64_t out, bool bias,
                               Block dy, Block x) {
  if (tp_ == 1) cut = Cut::kNone;
  if (cut == Cut::kRow && sequence_) dy = gather_rows(out);
  if (cut == Cut::kColumn) out = local(out);
  if (cut == Cut::kRow) in = local(in);
  const int64_t T = cut == Cut::kNone ? rows_ : all_rows_;
  if (bias) run_.row_op(RowOp::kColumnSums, T * out);
  Block dx = cut == Cut::kColumn ? partial(in) : matrix(T, in);
  run_.product(kind == MatrixKind::kLinear ? Product::kMm : Product::kLinear, T, out, in);
  if (cut == Cut::kColumn) dx = sum_over_ranks(std::move(dx), in);
  if (cut == Cut::kColumn && sequence_) x = gather_rows(in);
  if (kind == MatrixKind::kLinear) {
    run_.weight_grad(T, in, out, dy, x);
  } else {
    run_.weight_grad(T, out, in, dy, x);
  }
  return dx;
}

Block Layers::gelu(int64_t columns) {
  run_.nodes(1);
  const int64_t n = local(columns);
  Block y = matrix(all_rows_, n);
  run_.row_op(sizes_.family == Family::kBert ? RowOp::kGelu : RowOp::kGeluTanh, all_rows_ * n);
  return y;
}

Block Layers::gelu_backward(int64_t columns, Block dy, Block h) {
  const int64_t n = local(columns);
  Block dh = matrix(all_rows_, n);
  run_.row_op(sizes_.family == Family::kBert ? RowOp::kGeluBackward : RowOp::kGeluTanhBackward,
              all_rows_ * n);
  dy = nullptr;
  h = nullptr;
  return dh;
}

Layers::Norm Layers::norm(NormForm form) {
  run_.nodes(1);
  const int64_t n = rows_ * sizes_.hidden;
  Norm norm{.out = matrix(rows_, sizes_.hidden), .sum = nullptr, .statistics = nullptr};
  if (form == NormForm::kAdds) norm.sum = matrix(rows_, sizes_.hidden);
  norm.statistics = floats(2 * rows_);
  run_.row_op(form == NormForm::kAlone      ? RowOp::kNorm
              : sizes_.hidden_dropout > 0.0 ? RowOp::kDropAddNorm
                                            : RowOp::kAddNorm,
              n);
  return norm;
}

Layers::NormGrads Layers::norm_backward(NormForm form, Block dz, Block d_sum, Block sum,
                                        Block statistics) {
  const bool drops = form == NormForm::kAdds && sizes_.hidden_dropout > 0.0;
  NormGrads grads;
  grads.d_residual = matrix(rows_, sizes_.hidden);
  grads.dy = drops ? matrix(rows_, sizes_.hidden) : grads.d_residual;
  run_.row_op(form == NormForm::kAlone ? RowOp::kNormBackward
              : drops                  ? RowOp::kDropAddNormBackward
                                       : RowOp::kAddNormBackward,
              rows_ * sizes_.hidden);
  for (Block* used : {&dz, &d_sum, &sum, &statistics}) *used = nullptr;
  return grads;
}

Block Layers::dropout(Block x, double p) {
  if (p == 0.0) return x;
  run_.nodes(1);
  Block y = matrix(rows_, sizes_.hidden);
  run_.row_op(RowOp::kDropout, rows_ * sizes_.hidden);
  return y;
}

Block Layers::dropout_add() {
  run_.nodes(1);
  Block sum = matrix(rows_, sizes_.hidden);
  run_.row_op(sizes_.hidden_dropout > 0.0 ? RowOp::kDropAdd : RowOp::kAdd, rows_ * sizes_.hidden);
  return sum;
}

int64_t Layers::scratch_scores() const {
  int64_t scores = 0;
  for (const int32_t L : batch_.lengths) {
    scores = std::max(scores, std::min<int64_t>(block_rows(L), L) * L);
  }
  return scores;
}

std::vector<Block> Layers::scratch(bool backward) {
  const int64_t scores = scratch_scores(), D = sizes_.head_size();
  int64_t most_rows = 0, most_keys = 0;
  for (const int32_t L : batch_.lengths) {
    most_rows = std::max(most_rows, std::min<int64_t>(block_rows(L), L));
    most_keys = std::max<int64_t>(most_keys, L);
  }
  const int64_t sums = run_.dtype() == Dtype::kFp32 ? 0 : (2 * most_keys + most_rows) * D;
  std::vector<Block> blocks;
  for (int64_t thread = 0; thread < run_.threads(); ++thread) {
    if (backward) {
      blocks.push_back(floats(2 * scores + most_rows + sums));
      blocks.push_back(matrix(2 * scores, 1));
    } else {
      blocks.push_back(floats(scores));
      blocks.push_back(matrix(scores, 1));
      blocks.push_back(floats(kBlockScores));
    }
  }
  return blocks;
}

void Layers::attend(bool backward, int64_t heads, double share) {
  const std::vector<Block> blocks = scratch(backward);
  run_.attention(
      {.backward = backward, .causal = sizes_.causal(), .dropout = sizes_.attention_dropout > 0.0},
      heads, sizes_.head_size(), batch_.lengths, share);
}

void Layers::pass_keys(const std::vector<Block>& buffers, int64_t bytes) {
  if (buffers.empty()) return;
  for (int64_t hop = 1; hop < run_.ranks(Axis::kCp); ++hop) {
    run_.start(Axis::kCp, LinkOp::kSend, bytes, /*in_arena=*/true);
  }
}

Block Layers::exchange(int64_t rows, int64_t columns) {
  const int64_t bytes = run_.matrix(rows, columns);
  const Block out = run_.take_shared(Axis::kCp, bytes), in = run_.take_shared(Axis::kCp, bytes);
  for (int copy = 0; copy < 2; ++copy) run_.row_op(RowOp::kConcat, rows * columns);
  run_.communicate(Axis::kCp, LinkOp::kAllToAll, bytes, /*in_arena=*/true);
  return matrix(rows, columns);
}

Layers::Attention Layers::attention(const Block& qkv) {
  run_.nodes(1);
  const int64_t heads = local(sizes_.heads), D = sizes_.head_size(), T = all_rows_,
                cp = run_.ranks(Axis::kCp);
  if (cp == 1) {
    Attention result{.out = matrix(T, heads * D), .lse = floats(heads * T), .kept = qkv};
    attend(false, heads, 1);
    return result;
  }
  if (batch_.ulysses) {
    Attention result;
    result.kept = exchange(T, 3 * heads * D);
    const Block whole = matrix(T, heads * D);
    result.lse = floats(heads * T);
    attend(false, heads, batch_.attention_share);
    result.out = exchange(T, heads * D);
    // Backward reads the attention's own result.
    return {.out = result.out, .lse = result.lse, .kept = result.kept};
  }
  const int64_t keys = run_.matrix(T, 2 * heads * D);
  const Block sums = floats(T * heads * D);
  Attention result{.out = nullptr, .lse = floats(heads * T), .kept = qkv};
  {
    const std::vector<Block> ring = {run_.take_shared(Axis::kCp, keys),
                                     run_.take_shared(Axis::kCp, keys)};
    pass_keys(ring, keys);
    attend(false, heads, batch_.attention_share);
  }
  result.out = matrix(T, heads * D);
  run_.row_op(RowOp::kConcat, T * heads * D);
  return result;
}

Block Layers::attention_backward(Block dy, Block kept, Block out, Block lse) {
  const int64_t heads = local(sizes_.heads), D = sizes_.head_size(), T = all_rows_,
                cp = run_.ranks(Axis::kCp);
  Block d_qkv;
  if (cp == 1) {
    d_qkv = matrix(T, 3 * heads * D);
    attend(true, heads, 1);
  } else if (batch_.ulysses) {
    const Block d_out = exchange(T, heads * D);
    const Block d_all = matrix(T, 3 * heads * D);
    attend(true, heads, batch_.attention_share);
    d_qkv = exchange(T, 3 * heads * D);
  } else {
    const int64_t keys = run_.matrix(T, 2 * heads * D), gradients = 4 * T * 2 * heads * D;
    const Block sums = floats(3 * T * heads * D);
    std::vector<Block> ring, gradient_ring;
    for (int buffer = 0; buffer < 2; ++buffer) ring.push_back(run_.take_shared(Axis::kCp, keys));
    for (int buffer = 0; buffer < (cp == 2 ? 2 : 3); ++buffer) {
      gradient_ring.push_back(run_.take_shared(Axis::kCp, gradients));
    }
    pass_keys(ring, keys);
    pass_keys(gradient_ring, gradients);
    attend(true, heads, batch_.attention_share);
    run_.row_op(RowOp::kSum, 2 * T * heads * D);
    d_qkv = matrix(T, 3 * heads * D);
    run_.row_op(RowOp::kConcat, 3 * T * heads * D);
  }
  for (Block* used : {&dy, &kept, &out, &lse}) *used = nullptr;
  return d_qkv;
}

Block Layers::own_words() {
  if (tp_ == 1) return nullptr;
  const int64_t H = sizes_.hidden;
  Block words = partial(H);
  run_.row_op(RowOp::kEmbed, all_rows_ * H);
  run_.row_op(RowOp::kConcat, all_rows_ * H);
  return sum_over_ranks(std::move(words), H);
}

}  // namespace trireme::plan
