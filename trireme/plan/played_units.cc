#include "trireme/plan/played_units.h"

#include <algorithm>
#include <utility>

#include "trireme/plan/played_layers.h"

namespace trireme::plan {
namespace {

using Norm = Layers::Norm;
using NormForm = Layers::NormForm;
using NormGrads = Layers::NormGrads;

// nn/loss.h's LogitsMemory.
constexpr int64_t kChunkRows = 1024;
constexpr int64_t kKeptLogitsBytes = int64_t{512} << 20;

template <class... Blocks>
void save(Saved* saved, const Blocks&... blocks) {
  if (saved != nullptr) (saved->push_back(blocks), ...);
}

// Takes the last one out.
Block pop(Saved& saved) {
  Block block = std::move(saved.back());
  saved.pop_back();
  return block;
}

}  // namespace

int64_t PlayedModel::boundary_bytes(const DryRun& run, const PlayedBatch& batch) const {
  const int64_t parts = options_.sequence_parallel ? run.ranks(Axis::kTp) : 1;
  return run.matrix(batch.rows / parts, sizes_.hidden);
}

Block PlayedModel::forward(DryRun& run, int64_t unit, Block x, const PlayedBatch& batch,
                           Saved* saved) const {
  const bool bert = sizes_.family == Family::kBert;
  if (is_head(unit)) {
    bert ? bert_head(run, x, batch, saved) : gpt2_head(run, x, batch, saved);
    return nullptr;
  }
  if (unit == 0 && !bert) return gpt2_embeddings(run, batch);
  const auto play = [&](Saved* to) {
    return unit == 0 ? bert_embeddings(run, batch, to)
           : bert    ? bert_layer(run, x, batch, to)
                     : gpt2_block(run, x, batch, to);
  };
  if (!options_.recompute) return play(saved);
  save(saved, x);
  run.nodes(1);
  return play(nullptr);
}

Block PlayedModel::backward(DryRun& run, int64_t unit, Block dy, const PlayedBatch& batch,
                            Saved saved) const {
  const bool bert = sizes_.family == Family::kBert;
  if (is_head(unit)) {
    return bert ? bert_head_backward(run, batch, std::move(saved))
                : gpt2_head_backward(run, batch, std::move(saved));
  }
  if (unit == 0 && !bert) {
    gpt2_embeddings_backward(run, std::move(dy), batch);
    return nullptr;
  }
  Block held, y;  // by the second run: autograd's roots and what they were given
  if (options_.recompute) {
    held = dy;
    const Block x = pop(saved);
    saved.clear();
    y = unit == 0 ? bert_embeddings(run, batch, &saved)
        : bert    ? bert_layer(run, x, batch, &saved)
                  : gpt2_block(run, x, batch, &saved);
  }
  if (unit == 0) {
    bert_embeddings_backward(run, std::move(dy), batch, std::move(saved));
    return nullptr;
  }
  return bert ? bert_layer_backward(run, std::move(dy), batch, std::move(saved))
              : gpt2_block_backward(run, std::move(dy), batch, std::move(saved));
}

Block PlayedModel::bert_embeddings(DryRun& run, const PlayedBatch& batch, Saved* saved) const {
  Layers nn(run, sizes_, batch, options_.sequence_parallel);
  run.nodes(1);
  Block words = nn.own_words();
  const Block sum = nn.matrix(nn.rows(), sizes_.hidden);
  words = nullptr;
  run.row_op(RowOp::kEmbed, nn.rows() * sizes_.hidden);
  const Norm norm = nn.norm(NormForm::kAlone);
  save(saved, sum, norm.statistics);
  return nn.dropout(norm.out, sizes_.embedding_dropout);
}

void PlayedModel::bert_embeddings_backward(DryRun& run, Block dy, const PlayedBatch& batch,
                                           Saved saved) const {
  Layers nn(run, sizes_, batch, options_.sequence_parallel);
  dy = nn.dropout(std::move(dy), sizes_.embedding_dropout);
  Block statistics = pop(saved), sum = pop(saved);
  const NormGrads grads = nn.norm_backward(NormForm::kAlone, std::move(dy), nullptr, std::move(sum),
                                           std::move(statistics));
  for (int table = 0; table < 3; ++table) {
    run.row_op(RowOp::kScatter, nn.rows() * sizes_.hidden);
  }
}

// Blocks go where the layer's variables are written anew, or at its end.
Block PlayedModel::bert_layer(DryRun& run, const Block& x, const PlayedBatch& batch,
                              Saved* saved) const {
  Layers nn(run, sizes_, batch, options_.sequence_parallel);
  const int64_t H = sizes_.hidden, I = sizes_.inner;
  constexpr MatrixKind kKind = MatrixKind::kLinear;
  Layers::Attention attention = nn.attention(nn.product(kKind, Cut::kColumn, H, 3 * H));
  save(saved, x, attention.kept, attention.out, attention.lse);
  Block y = std::exchange(attention, {}).out;
  y = nn.product(kKind, Cut::kRow, H, H);
  Norm a = nn.norm(NormForm::kAdds);
  save(saved, a.sum, a.statistics);
  a.sum = a.statistics = nullptr;
  {
    const Block h = nn.product(kKind, Cut::kColumn, H, I);
    save(saved, a.out, h);
    y = nn.gelu(I);
  }
  save(saved, y);
  y = nn.product(kKind, Cut::kRow, I, H);
  const Norm out = nn.norm(NormForm::kAdds);
  save(saved, out.sum, out.statistics);
  return out.out;
}

Block PlayedModel::bert_layer_backward(DryRun& run, Block dy, const PlayedBatch& batch,
                                       Saved saved) const {
  Layers nn(run, sizes_, batch, options_.sequence_parallel);
  const int64_t H = sizes_.hidden, I = sizes_.inner;
  constexpr MatrixKind kKind = MatrixKind::kLinear;
  Block statistics = pop(saved), sum = pop(saved);
  NormGrads grads = nn.norm_backward(NormForm::kAdds, std::move(dy), nullptr, std::move(sum),
                                     std::move(statistics));
  Block d = nn.product_backward(kKind, Cut::kRow, I, H, false, std::move(grads.dy), pop(saved));
  d = nn.gelu_backward(I, std::move(d), pop(saved));
  d = nn.product_backward(kKind, Cut::kColumn, H, I, false, std::move(d), pop(saved));
  nn.meet();
  d = nullptr;
  statistics = pop(saved);
  sum = pop(saved);
  grads = nn.norm_backward(NormForm::kAdds, std::move(grads.d_residual), nullptr, std::move(sum),
                           std::move(statistics));
  Block lse = pop(saved), out = pop(saved);
  d = nn.product_backward(kKind, Cut::kRow, H, H, false, std::move(grads.dy), out);
  d = nn.attention_backward(std::move(d), pop(saved), std::move(out), std::move(lse));
  d = nn.product_backward(kKind, Cut::kColumn, H, 3 * H, true, std::move(d), pop(saved));
  nn.meet();
  return std::move(grads.d_residual);
}

void PlayedModel::bert_head(DryRun& run, const Block& x, const PlayedBatch& batch,
                            Saved* saved) const {
  Layers nn(run, sizes_, batch, options_.sequence_parallel);
  run.nodes(2);
  const int64_t T = nn.all_rows();
  const Block all = T == nn.rows() ? x : nn.gather_rows(sizes_.hidden);
  const Block logits = nn.floats(2 * T);
  run.product(Product::kLinear, T, sizes_.hidden, 2);
  const Block gradient = nn.floats(2 * T);
  save(saved, all, logits, gradient);
}

Block PlayedModel::bert_head_backward(DryRun& run, const PlayedBatch& batch, Saved saved) const {
  Layers nn(run, sizes_, batch, options_.sequence_parallel);
  const Block gradient = pop(saved), logits = pop(saved), x = pop(saved);
  const int64_t T = nn.all_rows();
  const Block d = nn.matrix(T, 2);
  Block dx = nn.matrix(T, sizes_.hidden);
  run.product(Product::kMm, T, 2, sizes_.hidden);
  run.weight_grad(T, sizes_.hidden, 2, d, x);
  return dx;
}

Block PlayedModel::gpt2_embeddings(DryRun& run, const PlayedBatch& batch) const {
  Layers nn(run, sizes_, batch, options_.sequence_parallel);
  run.nodes(1);
  Block words = nn.own_words();
  Block sum = nn.matrix(nn.rows(), sizes_.hidden);
  words = nullptr;
  run.row_op(RowOp::kEmbed, nn.rows() * sizes_.hidden);
  return nn.dropout(std::move(sum), sizes_.embedding_dropout);
}

void PlayedModel::gpt2_embeddings_backward(DryRun& run, Block dy, const PlayedBatch& batch) const {
  Layers nn(run, sizes_, batch, options_.sequence_parallel);
  dy = nn.dropout(std::move(dy), sizes_.embedding_dropout);
  for (int table = 0; table < 2; ++table) {
    run.row_op(RowOp::kScatter, nn.rows() * sizes_.hidden);
  }
}

Block PlayedModel::gpt2_block(DryRun& run, const Block& x, const PlayedBatch& batch,
                              Saved* saved) const {
  Layers nn(run, sizes_, batch, options_.sequence_parallel);
  const int64_t H = sizes_.hidden, I = sizes_.inner;
  constexpr MatrixKind kKind = MatrixKind::kConv1D;
  Block y;
  {
    const Norm norm1 = nn.norm(NormForm::kAlone);
    const Layers::Attention attention = nn.attention(nn.product(kKind, Cut::kColumn, H, 3 * H));
    save(saved, x, norm1.statistics, norm1.out, attention.kept, attention.out, attention.lse);
    y = attention.out;
  }
  Block projected = nn.product(kKind, Cut::kRow, H, H);
  Norm norm2 = nn.norm(NormForm::kAdds);  // its sum goes on beside it
  projected = nullptr;
  save(saved, norm2.sum, norm2.statistics);
  norm2.statistics = nullptr;
  {
    const Block h = nn.product(kKind, Cut::kColumn, H, I);
    save(saved, norm2.out, h);
    y = nn.gelu(I);
  }
  save(saved, y);
  projected = nn.product(kKind, Cut::kRow, I, H);
  return nn.dropout_add();
}

Block PlayedModel::gpt2_block_backward(DryRun& run, Block dy, const PlayedBatch& batch,
                                       Saved saved) const {
  Layers nn(run, sizes_, batch, options_.sequence_parallel);
  const int64_t H = sizes_.hidden, I = sizes_.inner;
  constexpr MatrixKind kKind = MatrixKind::kConv1D;
  Block d = nn.dropout(dy, sizes_.hidden_dropout);
  run.row_op(RowOp::kColumnSums, nn.rows() * H);
  d = nn.product_backward(kKind, Cut::kRow, I, H, false, std::move(d), pop(saved));
  d = nn.gelu_backward(I, std::move(d), pop(saved));
  d = nn.product_backward(kKind, Cut::kColumn, H, I, false, std::move(d), pop(saved));
  Block statistics = pop(saved), sum = pop(saved);
  NormGrads grads = nn.norm_backward(NormForm::kAdds, std::move(d), std::move(dy), std::move(sum),
                                     std::move(statistics));
  Block lse = pop(saved), out = pop(saved);
  d = nn.product_backward(kKind, Cut::kRow, H, H, false, std::move(grads.dy), out);
  d = nn.attention_backward(std::move(d), pop(saved), std::move(out), std::move(lse));
  d = nn.product_backward(kKind, Cut::kColumn, H, 3 * H, true, std::move(d), pop(saved));
  statistics = pop(saved);
  d = nn.norm_backward(NormForm::kAlone, std::move(d), nullptr, pop(saved), std::move(statistics))
          .dy;
  nn.meet();
  return std::move(grads.d_residual);
}

void PlayedModel::gpt2_head(DryRun& run, const Block& x, const PlayedBatch& batch,
                            Saved* saved) const {
  Layers nn(run, sizes_, batch, options_.sequence_parallel);
  const Norm norm = nn.norm(NormForm::kAlone);
  run.nodes(1);
  const int64_t V = nn.local(sizes_.vocabulary), T = nn.all_rows();
  save(saved, x, norm.statistics, T == nn.rows() ? norm.out : nn.gather_rows(sizes_.hidden));
  int64_t kept = 0;
  for (int64_t row = 0; row < T; row += kChunkRows) {
    const int64_t rows = std::min(kChunkRows, T - row);
    const Block logits = nn.matrix(rows, V);
    run.product(Product::kLinear, rows, sizes_.hidden, V);
    run.row_op(RowOp::kCrossEntropy, rows * V);
    kept += run.matrix(rows, V);
    save(saved, kept <= kKeptLogitsBytes ? logits : nullptr);
    if (run.ranks(Axis::kTp) > 1) {
      run.communicate(Axis::kTp, LinkOp::kAllGather, 3 * 4 * rows * run.ranks(Axis::kTp),
                      /*in_arena=*/false);
    }
  }
}

Block PlayedModel::gpt2_head_backward(DryRun& run, const PlayedBatch& batch, Saved saved) const {
  Layers nn(run, sizes_, batch, options_.sequence_parallel);
  const int64_t V = nn.local(sizes_.vocabulary), T = nn.all_rows(), H = sizes_.hidden;
  Block dx =
      run.ranks(Axis::kTp) > 1 ? run.take_shared(Axis::kTp, run.matrix(T, H)) : nn.matrix(T, H);
  for (int64_t row = (T - 1) / kChunkRows * kChunkRows; row >= 0; row -= kChunkRows) {
    const int64_t rows = std::min(kChunkRows, T - row);
    Block logits = pop(saved);
    if (logits == nullptr) {
      logits = nn.matrix(rows, V);
      run.product(Product::kLinear, rows, H, V);
      run.row_op(RowOp::kCrossEntropy, rows * V);
    }
    {
      // In bf16 the product into rows of dx is summed in fp32 beside them.
      const Block sums = run.dtype() == Dtype::kBf16 ? nn.floats(rows * H) : nullptr;
      run.product(Product::kMm, rows, V, H);
    }
    run.product(Product::kWeightGrad, rows, H, V);  // writes where the logits were: at once
  }
  if (run.ranks(Axis::kTp) > 1) {
    run.communicate(Axis::kTp, LinkOp::kAllReduce, run.matrix(T, H), /*in_arena=*/true);
  }
  pop(saved);  // the norm
  Block statistics = pop(saved);
  return nn
      .norm_backward(NormForm::kAlone, std::move(dx), nullptr, pop(saved), std::move(statistics))
      .dy;
}

}  // namespace trireme::plan
