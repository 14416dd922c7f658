#include "trireme/data/cp_shard.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "trireme/base/error.h"

namespace trireme::data {
namespace {

std::vector<int32_t> lengths_of(const kernels::SeqInfo& seq) {
  std::vector<int32_t> lengths;
  for (size_t b = 0; b + 1 < seq.cu_q_host.size(); ++b)
    lengths.push_back(seq.cu_q_host[b + 1] - seq.cu_q_host[b]);
  return lengths;
}

// `x`'s rows, and `fill` behind them up to `total`.
at::Tensor take_rows(const at::Tensor& x, const at::Tensor& rows, int64_t total, int64_t fill) {
  at::Tensor out = at::full({total}, fill, x.options());
  out.narrow(0, 0, rows.size(0)).copy_(x.index_select(0, rows));
  return out;
}

kernels::SeqInfo piece_seq(const std::vector<CpPiece>& pieces) {
  std::vector<int32_t> lengths;
  for (const CpPiece& piece : pieces) lengths.push_back(piece.rows);
  kernels::SeqInfo seq = kernels::SeqInfo::self(lengths);
  for (size_t i = 0; i < pieces.size(); ++i) seq.q_start_host[i] = pieces[i].begin;
  seq.q_start = at::tensor(seq.q_start_host, at::kInt);
  return seq;
}

}  // namespace

CpShard cp_shard(const PackedBatch& whole, int rank, int cp) {
  CpShard shard;
  shard.layout = cp_layout(lengths_of(whole.seq), cp);
  if (rank < 0 || rank >= cp) throw input_error("there is no rank ", rank, " of cp = ", cp);
  shard.whole_seq = whole.seq;
  shard.whole_dropout = whole.dropout_key(0, 0);
  const auto& starts = whole.seq.cu_q_host;
  const int64_t rows = shard.layout.rows;

  shard.gathered_rows = at::empty({whole.real_tokens()}, at::kLong);
  auto* gathered = shard.gathered_rows.mutable_data_ptr<int64_t>();
  for (int r = 0; r < cp; ++r) {
    for (const CpPiece& piece : shard.layout.ranks[static_cast<size_t>(r)]) {
      const int64_t to = starts[static_cast<size_t>(piece.sequence)] + piece.begin;
      for (int32_t i = 0; i < piece.rows; ++i) gathered[to + i] = r * rows + piece.row + i;
    }
  }

  const std::vector<CpPiece>& pieces = shard.layout.ranks[static_cast<size_t>(rank)];
  std::vector<int64_t> own, first;
  for (const CpPiece& piece : pieces) {
    const auto b = static_cast<size_t>(piece.sequence);
    for (int32_t i = 0; i < piece.rows; ++i) own.push_back(starts[b] + piece.begin + i);
    if (!whole.sample.empty()) shard.batch.sample.push_back(whole.sample[b]);
    if (!whole.draw.empty()) shard.batch.draw.push_back(whole.draw[b]);
    if (piece.begin == 0) first.push_back(piece.sequence);
  }
  shard.own_rows = at::tensor(own, at::kLong);
  shard.first_sequences = at::tensor(first, at::kLong);
  const auto cut = [&](const at::Tensor& x, int64_t fill) {
    return take_rows(x, shard.own_rows, rows, fill);
  };
  shard.batch.seq = piece_seq(pieces);
  shard.batch.tokens = cut(whole.tokens, 0);
  shard.batch.positions = cut(whole.positions, 0);
  if (whole.token_types.defined()) shard.batch.token_types = cut(whole.token_types, 0);
  for (const auto& [name, label] : whole.labels) {
    shard.batch.labels[name] = label.size(0) == whole.rows() ? cut(label, -1) : label;
  }
  return shard;
}

}  // namespace trireme::data
