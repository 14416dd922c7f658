#include "trireme/kernels/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/kernels/attention_tile.h"

namespace trireme::kernels {
namespace {

// Blocks of a sequence's query rows against the keys that they see.
std::vector<Tile> tiles_of(const SeqInfo& seq, int64_t b, bool causal) {
  std::vector<Tile> tiles;
  const auto i = static_cast<size_t>(b);
  const int64_t row = seq.cu_q_host[i], rows = seq.cu_q_host[i + 1] - row;
  const int64_t key_row = seq.cu_k_host[i], keys = seq.cu_k_host[i + 1] - key_row;
  const int32_t step = tile_rows(keys);
  for (int32_t first = 0; first < rows; first += step) {
    const Tile tile{row + first, std::min<int64_t>(step, rows - first), key_row,
                    keys,        seq.q_start_host[i] + first,           0};
    tiles.push_back(tile.seen(causal));
  }
  return tiles;
}

void check(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const SeqInfo& seq,
           const AttentionOptions& options) {
  check_attention(q, k, v, options);
  if (seq.real_tokens() > q.size(0) ||
      (!seq.cu_k_host.empty() && seq.cu_k_host.back() > k.size(0))) {
    throw input_error("the sequences hold more tokens than the tensors: ", seq.real_tokens(), " > ",
                      q.size(0));
  }
}

void zero_rest(at::Tensor x, int64_t first_row) {
  if (first_row < x.size(0)) x.narrow(0, first_row, x.size(0) - first_row).zero_();
}

// In the rows of `x` themselves, or, not in place, in `spare`.
Sum sum_in(const Heads& x, bool in_place, int64_t row, int64_t head, float* spare, int64_t D) {
  return in_place ? sum_in(x, row, head) : Sum{spare, D};
}

}  // namespace

AttentionResult attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const SeqInfo& seq, const AttentionOptions& options) {
  check(q, k, v, seq, options);
  at::NoGradGuard no_grad;
  const int64_t T = q.size(0), Nq = q.size(1), D = q.size(2);
  AttentionResult result{at::empty({T, Nq, D}, q.options()),
                         at::empty({Nq, T}, q.options().dtype(at::kFloat))};
  zero_rest(result.out, seq.real_tokens());
  const TileMath math(q, k, v, options);
  const Heads out(result.out);
  float* lse = result.lse.data_ptr<float>();

  std::vector<Tile> tiles;
  int64_t most_scores = 0;
  for (int64_t b = 0; b < seq.sequences(); ++b) {
    for (const Tile& tile : tiles_of(seq, b, options.causal)) {
      tiles.push_back(tile);
      most_scores = std::max(most_scores, tile.scores());
    }
  }
  const int64_t items = static_cast<int64_t>(tiles.size()) * Nq;
  at::parallel_for(0, items, 1, [&](int64_t begin, int64_t end) {
    at::Tensor scores = at::empty({most_scores}, at::kFloat);
    at::Tensor probs = at::empty({most_scores}, math.dtype());
    at::Tensor out_f32 = at::empty({kTileScores}, at::kFloat);
    for (int64_t item = begin; item < end; ++item) {
      const Tile& tile = tiles[static_cast<size_t>(item / Nq)];
      const int64_t head = item % Nq;
      math.probabilities(tile, head, scores.data_ptr<float>(), probs.data_ptr(),
                         lse + head * T + tile.row);
      if (math.dtype() == at::kFloat) {
        math.values(tile, head, probs.data_ptr(), sum_in(out, tile.row, head));
      } else {
        if (out_f32.numel() < tile.rows * D) out_f32 = at::empty({tile.rows * D}, at::kFloat);
        float* o = out_f32.data_ptr<float>();
        math.values(tile, head, probs.data_ptr(), {o, D});
        math.ops().store_rows(o, D, out.at(tile.row, head), out.row_stride, tile.rows, D);
      }
    }
  });
  return result;
}

void attention_backward(const at::Tensor& d_out, const at::Tensor& q, const at::Tensor& k,
                        const at::Tensor& v, const AttentionResult& forward, const SeqInfo& seq,
                        const AttentionOptions& options, at::Tensor dq, at::Tensor dk,
                        at::Tensor dv) {
  check(q, k, v, seq, options);
  at::NoGradGuard no_grad;
  const int64_t T = q.size(0), Nkv = k.size(1), D = q.size(2), group = q.size(1) / Nkv;
  const int64_t real_keys = seq.cu_k_host.empty() ? 0 : seq.cu_k_host.back();
  zero_rest(dq, seq.real_tokens());
  zero_rest(dk, real_keys);
  zero_rest(dv, real_keys);
  const TileMath math(q, k, v, options);
  const Heads ho(forward.out), hdo(d_out), hdq(dq), hdk(dk), hdv(dv);
  const float* lse = forward.lse.const_data_ptr<float>();
  const bool in_place = math.dtype() == at::kFloat;  // gradients are summed where they belong

  int64_t most_scores = 0, most_rows = 0, most_keys = 0;
  for (int64_t b = 0; b < seq.sequences(); ++b) {
    const auto i = static_cast<size_t>(b);
    most_keys = std::max<int64_t>(most_keys, seq.cu_k_host[i + 1] - seq.cu_k_host[i]);
    for (const Tile& tile : tiles_of(seq, b, options.causal)) {
      most_rows = std::max(most_rows, tile.rows);
      most_scores = std::max(most_scores, tile.scores());
    }
  }
  // One item is all of a sequence's rows for one key head: its dk and dv are summed in one place,
  // in one order.
  at::parallel_for(0, seq.sequences() * Nkv, 1, [&](int64_t begin, int64_t end) {
    // scores, d_probs, delta in fp32; probs and d_scores in the compute dtype; in bf16 dk, dv and
    // dq as fp32 sums first.
    const int64_t sums = in_place ? 0 : (2 * most_keys + most_rows) * D;
    at::Tensor floats = at::empty({2 * most_scores + most_rows + sums}, at::kFloat);
    at::Tensor halves = at::empty({2 * most_scores}, math.dtype());
    float *scores = floats.data_ptr<float>(), *delta = scores + 2 * most_scores,
          *spare = delta + most_rows;
    char* probs = static_cast<char*>(halves.data_ptr());
    const TileMath::Scratch scratch{
        scores, scores + most_scores, probs,
        probs + most_scores * static_cast<int64_t>(halves.element_size())};
    for (int64_t item = begin; item < end; ++item) {
      const int64_t b = item / Nkv, kv_head = item % Nkv;
      const int64_t key_row = seq.cu_k_host[static_cast<size_t>(b)];
      const int64_t keys = seq.cu_k_host[static_cast<size_t>(b) + 1] - key_row;
      const std::vector<Tile> tiles = tiles_of(seq, b, options.causal);
      if (tiles.empty()) continue;
      const Sum dk_sum = sum_in(hdk, in_place, key_row, kv_head, spare, D);
      const Sum dv_sum = sum_in(hdv, in_place, key_row, kv_head, spare + most_keys * D, D);
      for (const Sum& sum : {dk_sum, dv_sum}) {
        for (int64_t key = 0; key < keys; ++key) std::fill_n(sum.data + key * sum.stride, D, 0.0f);
      }
      for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        for (const Tile& tile : tiles) {
          math.ops().row_dots(hdo.at(tile.row, head), hdo.row_stride, ho.at(tile.row, head),
                              ho.row_stride, delta, tile.rows, D);
          const Sum dq_sum = sum_in(hdq, in_place, tile.row, head, spare + 2 * most_keys * D, D);
          math.backward(tile, head, hdo, lse + head * T + tile.row, delta, scratch, dq_sum, 0.0f,
                        dk_sum, dv_sum);
          if (!in_place) {
            math.ops().store_rows(dq_sum.data, D, hdq.at(tile.row, head), hdq.row_stride, tile.rows,
                                  D);
          }
        }
      }
      if (!in_place) {
        math.ops().store_rows(dk_sum.data, D, hdk.at(key_row, kv_head), hdk.row_stride, keys, D);
        math.ops().store_rows(dv_sum.data, D, hdv.at(key_row, kv_head), hdv.row_stride, keys, D);
      }
    }
  });
}

}  // namespace trireme::kernels
