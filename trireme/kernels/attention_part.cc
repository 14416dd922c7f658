#include "trireme/kernels/attention_part.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "trireme/base/error.h"
#include "trireme/kernels/attention_tile.h"

namespace trireme::kernels {
namespace {

// A block of query rows with each run of keys of which it sees any.
using Block = std::vector<Tile>;

std::vector<Block> blocks_of(const SequenceRuns& sequence, bool causal) {
  int32_t most_keys = 0;
  for (const RowRun& keys : sequence.keys) most_keys = std::max(most_keys, keys.rows);
  const int32_t step = tile_rows(most_keys);
  std::vector<Block> blocks;
  for (const RowRun& queries : sequence.queries) {
    for (int32_t first = 0; first < queries.rows; first += step) {
      Block block;
      for (const RowRun& keys : sequence.keys) {
        const Tile tile = Tile{queries.row + first,
                               std::min(step, queries.rows - first),
                               keys.row,
                               keys.rows,
                               queries.start + first,
                               keys.start}
                              .seen(causal);
        if (tile.keys > 0) block.push_back(tile);
      }
      if (!block.empty()) blocks.push_back(std::move(block));
    }
  }
  return blocks;
}

struct Most {
  int64_t scores = 0, rows = 0;
  void see(const Block& block) {
    for (const Tile& tile : block) {
      scores = std::max(scores, tile.scores());
      rows = std::max(rows, tile.rows);
    }
  }
};

void check(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
           std::span<const SequenceRuns> sequences, const AttentionOptions& options) {
  check_attention(q, k, v, options);
  const auto inside = [](const std::vector<RowRun>& runs, const at::Tensor& x) {
    return std::all_of(runs.begin(), runs.end(), [&](const RowRun& run) {
      return run.row >= 0 && run.rows >= 1 && int64_t{run.row} + run.rows <= x.size(0);
    });
  };
  for (const SequenceRuns& sequence : sequences) {
    if (!inside(sequence.queries, q) || !inside(sequence.keys, k)) {
      throw input_error("runs of rows outside the tensors of attention: q ", q.sizes(), ", k ",
                        k.sizes());
    }
  }
}

void check_sum(const at::Tensor& sum, const at::Tensor& like) {
  if (sum.scalar_type() != at::kFloat || sum.sizes() != like.sizes() || sum.stride(2) != 1) {
    throw input_error("attention is summed in fp32 ", like.sizes(), " with the last dim dense");
  }
}

// Into rows that have seen some keys, what they see of others: values weighted by their shares.
void merge(Sum out, float* lse, const float* part, const float* part_lse, int64_t rows, int64_t D) {
  for (int64_t i = 0; i < rows; ++i) {
    if (part_lse[i] == -INFINITY) continue;
    const float top = std::max(lse[i], part_lse[i]);
    const float total = std::exp(lse[i] - top) + std::exp(part_lse[i] - top);
    const float before = std::exp(lse[i] - top) / total;
    const float now = std::exp(part_lse[i] - top) / total;
    float* o = out.data + i * out.stride;
    for (int64_t d = 0; d < D; ++d) o[d] = o[d] * before + part[i * D + d] * now;
    lse[i] = top + std::log(total);
  }
}

}  // namespace

AttentionSums attention_sums(int64_t rows, int64_t heads, int64_t head_size) {
  return {at::zeros({rows, heads, head_size}, at::kFloat),
          at::full({heads, rows}, -INFINITY, at::kFloat)};
}

void attention_add(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   std::span<const SequenceRuns> sequences, const AttentionOptions& options,
                   AttentionSums& sums) {
  check(q, k, v, sequences, options);
  check_sum(sums.out, q);
  at::NoGradGuard no_grad;
  const int64_t T = q.size(0), Nq = q.size(1), D = q.size(2);
  const TileMath math(q, k, v, options);
  const Heads out(sums.out);
  float* lse = sums.lse.data_ptr<float>();

  std::vector<Block> blocks;
  Most most;
  for (const SequenceRuns& sequence : sequences) {
    for (Block& block : blocks_of(sequence, options.causal)) {
      most.see(block);
      blocks.push_back(std::move(block));
    }
  }
  const int64_t items = static_cast<int64_t>(blocks.size()) * Nq;
  at::parallel_for(0, items, 1, [&](int64_t begin, int64_t end) {
    at::Tensor floats = at::empty({most.scores + most.rows * (D + 1)}, at::kFloat);
    at::Tensor probs = at::empty({most.scores}, math.dtype());
    float *scores = floats.data_ptr<float>(), *part_lse = scores + most.scores,
          *part = part_lse + most.rows;
    for (int64_t item = begin; item < end; ++item) {
      const int64_t head = item % Nq;
      for (const Tile& tile : blocks[static_cast<size_t>(item / Nq)]) {
        math.probabilities(tile, head, scores, probs.data_ptr(), part_lse);
        math.values(tile, head, probs.data_ptr(), {part, D});
        merge(sum_in(out, tile.row, head), lse + head * T + tile.row, part, part_lse, tile.rows, D);
      }
    }
  });
}

at::Tensor attention_delta(const at::Tensor& d_out, const at::Tensor& out) {
  const int64_t T = out.size(0), N = out.size(1), D = out.size(2);
  at::Tensor delta = at::empty({N, T}, at::kFloat);
  const TileMath math(out, out, out, {});
  const Heads a(d_out), b(out);
  at::parallel_for(0, N, 1, [&](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head) {
      math.ops().row_dots(a.at(0, head), a.row_stride, b.at(0, head), b.row_stride,
                          delta.data_ptr<float>() + head * T, T, D);
    }
  });
  return delta;
}

void attention_backward_add(const at::Tensor& d_out, const at::Tensor& delta, const at::Tensor& lse,
                            const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            std::span<const SequenceRuns> sequences,
                            const AttentionOptions& options, at::Tensor dq, at::Tensor dk,
                            at::Tensor dv) {
  check(q, k, v, sequences, options);
  check_sum(dq, q);
  check_sum(dk, k);
  check_sum(dv, v);
  at::NoGradGuard no_grad;
  const int64_t T = q.size(0), Nkv = k.size(1), group = q.size(1) / Nkv;
  const TileMath math(q, k, v, options);
  const Heads hdo(d_out), hdq(dq), hdk(dk), hdv(dv);

  std::vector<std::vector<Block>> blocks;
  Most most;
  for (const SequenceRuns& sequence : sequences) {
    blocks.push_back(blocks_of(sequence, options.causal));
    for (const Block& block : blocks.back()) most.see(block);
  }
  // One item is all of a sequence's rows for one key head: a row is added to by one thread, in one
  // order.
  at::parallel_for(
      0, static_cast<int64_t>(blocks.size()) * Nkv, 1, [&](int64_t begin, int64_t end) {
        at::Tensor floats = at::empty({2 * most.scores}, at::kFloat);
        at::Tensor halves = at::empty({2 * most.scores}, math.dtype());
        const TileMath::Scratch scratch{floats.data_ptr<float>(),
                                        floats.data_ptr<float>() + most.scores, halves.data_ptr(),
                                        halves.narrow(0, most.scores, most.scores).data_ptr()};
        for (int64_t item = begin; item < end; ++item) {
          const int64_t kv_head = item % Nkv;
          for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
            for (const Block& block : blocks[static_cast<size_t>(item / Nkv)]) {
              for (const Tile& tile : block) {
                const int64_t at = head * T + tile.row;
                math.backward(tile, head, hdo, lse.const_data_ptr<float>() + at,
                              delta.const_data_ptr<float>() + at, scratch,
                              sum_in(hdq, tile.row, head), 1.0f, sum_in(hdk, tile.key_row, kv_head),
                              sum_in(hdv, tile.key_row, kv_head));
              }
            }
          }
        }
      });
}

}  // namespace trireme::kernels
