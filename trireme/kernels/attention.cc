#include "trireme/kernels/attention.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "trireme/base/error.h"
#include "trireme/kernels/gemm.h"
#include "trireme/kernels/isa.h"
#include "trireme/kernels/row_dropout.h"

namespace trireme::kernels {
namespace {

// Scores of a block, rows x keys floats, stay in the second-level cache.
constexpr int64_t kBlockScores = 64 * 1024;
constexpr int64_t kMinBlockRows = 16;

struct Block {
  int32_t sequence;
  int32_t first;  // row in the sequence
  int32_t rows;
};

int32_t block_rows(int32_t keys) {
  const int64_t rows = kBlockScores / std::max<int32_t>(keys, 1) / kMinBlockRows * kMinBlockRows;
  return static_cast<int32_t>(std::max(rows, kMinBlockRows));
}

std::vector<Block> query_blocks(const SeqInfo& seq, int32_t sequence) {
  std::vector<Block> blocks;
  const int32_t rows = seq.cu_q_host[sequence + 1] - seq.cu_q_host[sequence];
  const int32_t step = block_rows(seq.cu_k_host[sequence + 1] - seq.cu_k_host[sequence]);
  for (int32_t first = 0; first < rows; first += step)
    blocks.push_back({sequence, first, std::min(step, rows - first)});
  return blocks;
}

// One operand [T, N, D] with element access by (row, head).
struct Heads {
  char* data;
  int64_t row_stride;   // in elements
  int64_t head_stride;  // in elements
  int64_t element_bytes;

  explicit Heads(const at::Tensor& x)
      : data(static_cast<char*>(x.data_ptr())),
        row_stride(x.stride(0)),
        head_stride(x.stride(1)),
        element_bytes(static_cast<int64_t>(x.element_size())) {}
  void* at(int64_t row, int64_t head) const {
    return data + (row * row_stride + head * head_stride) * element_bytes;
  }
  MatrixView matrix(int64_t row, int64_t head, bool transposed = false) const {
    return {at(row, head), row_stride, transposed};
  }
};

void check(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const SeqInfo& seq,
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
  if (seq.real_tokens() > q.size(0) ||
      (!seq.cu_k_host.empty() && seq.cu_k_host.back() > k.size(0))) {
    throw input_error("the sequences hold more tokens than the tensors: ", seq.real_tokens(), " > ",
                      q.size(0));
  }
  if (options.scale < 0) throw input_error("a negative attention scale: ", options.scale);
}

const isa::ElementOps& element_ops(const at::Tensor& x) {
  return x.scalar_type() == at::kFloat ? ops_table().fp32 : ops_table().bf16;
}

// Dropout of one head's probabilities.
isa::RowDropout head_dropout(isa::RowDropout drop, int64_t head) {
  drop.site += static_cast<uint32_t>(head);
  return drop;
}

void zero_rest(at::Tensor x, int64_t first_row) {
  if (first_row < x.size(0)) x.narrow(0, first_row, x.size(0) - first_row).zero_();
}

// Keys that a causal block can see at all.
int64_t block_keys(const SeqInfo& seq, const Block& block, bool causal) {
  const int64_t keys = seq.cu_k_host[block.sequence + 1] - seq.cu_k_host[block.sequence];
  if (!causal) return keys;
  return std::min<int64_t>(keys, seq.q_start_host[block.sequence] + block.first + block.rows);
}

// Where products of some rows of one head are summed, in fp32.
struct Sum {
  float* data;
  int64_t stride;
};

// In the rows of `in_place` themselves, or, null, in `spare`.
Sum sum_in(const Heads* in_place, int64_t row, int64_t head, float* spare, int64_t D) {
  if (in_place == nullptr) return {spare, D};
  return {static_cast<float*>(in_place->at(row, head)), in_place->row_stride};
}

int32_t sample_of(const isa::RowDropout& drop, int64_t row) {
  return drop.threshold ? drop.row_sample[row] : 0;
}

}  // namespace

AttentionResult attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const SeqInfo& seq, const AttentionOptions& options) {
  check(q, k, v, seq, options);
  at::NoGradGuard no_grad;
  const int64_t T = q.size(0), Nq = q.size(1), D = q.size(2), group = Nq / k.size(1);
  AttentionResult result{at::empty({T, Nq, D}, q.options()),
                         at::empty({Nq, T}, q.options().dtype(at::kFloat))};
  zero_rest(result.out, seq.real_tokens());
  const isa::RowDropout drop = row_dropout(options.dropout, options.key);
  const isa::ElementOps& ops = element_ops(q);
  const Heads hq(q), hk(k), hv(v), ho(result.out);
  float* lse = result.lse.data_ptr<float>();
  const at::ScalarType dtype = q.scalar_type();

  std::vector<Block> blocks;
  int64_t most_scores = 0;
  for (int32_t b = 0; b < seq.sequences(); ++b) {
    for (const Block& block : query_blocks(seq, b)) {
      blocks.push_back(block);
      most_scores = std::max(most_scores, block.rows * block_keys(seq, block, options.causal));
    }
  }
  const int64_t items = static_cast<int64_t>(blocks.size()) * Nq;
  at::parallel_for(0, items, 1, [&](int64_t begin, int64_t end) {
    at::Tensor scores = at::empty({most_scores}, at::kFloat);
    at::Tensor probs = at::empty({most_scores}, dtype);
    at::Tensor out_f32 = at::empty({kBlockScores}, at::kFloat);
    for (int64_t item = begin; item < end; ++item) {
      const Block& block = blocks[item / Nq];
      const int64_t head = item % Nq;
      const int64_t row = seq.cu_q_host[block.sequence] + block.first;
      const int64_t key_row = seq.cu_k_host[block.sequence];
      const int64_t keys = block_keys(seq, block, options.causal);
      const int32_t position = seq.q_start_host[block.sequence] + block.first;
      float* s = scores.data_ptr<float>();
      gemm(dtype, block.rows, keys, D, hq.matrix(row, head), hk.matrix(key_row, head / group, true),
           0.0f, s, keys);
      ops.softmax(s, static_cast<float>(options.scale), options.causal, head_dropout(drop, head),
                  sample_of(drop, row), position, probs.data_ptr(), lse + head * T + row,
                  block.rows, keys);
      const MatrixView p{probs.data_ptr(), keys};
      if (dtype == at::kFloat) {
        gemm(dtype, block.rows, D, keys, p, hv.matrix(key_row, head / group), 0.0f,
             static_cast<float*>(ho.at(row, head)), ho.row_stride);
      } else {
        if (out_f32.numel() < block.rows * D) out_f32 = at::empty({block.rows * D}, at::kFloat);
        float* o = out_f32.data_ptr<float>();
        gemm(dtype, block.rows, D, keys, p, hv.matrix(key_row, head / group), 0.0f, o, D);
        ops.store_rows(o, D, ho.at(row, head), ho.row_stride, block.rows, D);
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
  const int64_t T = q.size(0), Nq = q.size(1), Nkv = k.size(1), D = q.size(2), group = Nq / Nkv;
  const int64_t real_keys = seq.cu_k_host.empty() ? 0 : seq.cu_k_host.back();
  zero_rest(dq, seq.real_tokens());
  zero_rest(dk, real_keys);
  zero_rest(dv, real_keys);
  const isa::RowDropout drop = row_dropout(options.dropout, options.key);
  const isa::ElementOps& ops = element_ops(q);
  const Heads hq(q), hk(k), hv(v), ho(forward.out), hdo(d_out), hdq(dq), hdk(dk), hdv(dv);
  const float* lse = forward.lse.const_data_ptr<float>();
  const at::ScalarType dtype = q.scalar_type();
  const bool in_place = dtype == at::kFloat;  // gradients are summed where they belong

  int64_t most_scores = 0, most_rows = 0, most_keys = 0;
  for (int32_t b = 0; b < seq.sequences(); ++b) {
    most_keys = std::max<int64_t>(most_keys, seq.cu_k_host[b + 1] - seq.cu_k_host[b]);
    for (const Block& block : query_blocks(seq, b)) {
      most_rows = std::max<int64_t>(most_rows, block.rows);
      most_scores = std::max(most_scores, block.rows * block_keys(seq, block, options.causal));
    }
  }
  // One item is all of a sequence's rows for one key head: its dk and dv are summed in one place,
  // in one order.
  at::parallel_for(0, seq.sequences() * Nkv, 1, [&](int64_t begin, int64_t end) {
    // scores, d_probs, delta in fp32; probs and d_scores in the compute dtype; in bf16 dk, dv and
    // dq as fp32 sums first.
    const int64_t sums = in_place ? 0 : (2 * most_keys + most_rows) * D;
    at::Tensor scratch = at::empty({2 * most_scores + most_rows + sums}, at::kFloat);
    at::Tensor halves = at::empty({2 * most_scores}, dtype);
    for (int64_t item = begin; item < end; ++item) {
      const int32_t b = static_cast<int32_t>(item / Nkv);
      const int64_t kv_head = item % Nkv;
      const int64_t key_row = seq.cu_k_host[b], all_keys = seq.cu_k_host[b + 1] - key_row;
      const std::vector<Block> blocks = query_blocks(seq, b);
      if (blocks.empty()) continue;
      float* scores = scratch.data_ptr<float>();
      float *d_probs = scores + most_scores, *delta = d_probs + most_scores,
            *spare = delta + most_rows;
      const Sum dk_sum = sum_in(in_place ? &hdk : nullptr, key_row, kv_head, spare, D);
      const Sum dv_sum =
          sum_in(in_place ? &hdv : nullptr, key_row, kv_head, spare + most_keys * D, D);
      char* probs = static_cast<char*>(halves.data_ptr());
      char* d_scores = probs + most_scores * static_cast<int64_t>(halves.element_size());
      for (const Sum& sum : {dk_sum, dv_sum}) {
        for (int64_t key = 0; key < all_keys; ++key)
          std::fill_n(sum.data + key * sum.stride, D, 0.0f);
      }

      for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
        for (const Block& block : blocks) {
          const int64_t row = seq.cu_q_host[b] + block.first;
          const int64_t keys = block_keys(seq, block, options.causal);
          const int32_t position = seq.q_start_host[b] + block.first;
          gemm(dtype, block.rows, keys, D, hq.matrix(row, head), hk.matrix(key_row, kv_head, true),
               0.0f, scores, keys);
          gemm(dtype, block.rows, keys, D, hdo.matrix(row, head), hv.matrix(key_row, kv_head, true),
               0.0f, d_probs, keys);
          ops.row_dots(hdo.at(row, head), hdo.row_stride, ho.at(row, head), ho.row_stride, delta,
                       block.rows, D);
          ops.softmax_backward(scores, d_probs, lse + head * T + row, delta,
                               static_cast<float>(options.scale), options.causal,
                               head_dropout(drop, head), sample_of(drop, row), position, probs,
                               d_scores, block.rows, keys);
          const Sum dq_block =
              sum_in(in_place ? &hdq : nullptr, row, head, spare + 2 * most_keys * D, D);
          gemm(dtype, keys, D, block.rows, {probs, keys, true}, hdo.matrix(row, head), 1.0f,
               dv_sum.data, dv_sum.stride);
          gemm(dtype, keys, D, block.rows, {d_scores, keys, true}, hq.matrix(row, head), 1.0f,
               dk_sum.data, dk_sum.stride);
          gemm(dtype, block.rows, D, keys, {d_scores, keys}, hk.matrix(key_row, kv_head), 0.0f,
               dq_block.data, dq_block.stride);
          if (!in_place) {
            ops.store_rows(dq_block.data, D, hdq.at(row, head), hdq.row_stride, block.rows, D);
          }
        }
      }
      if (!in_place) {
        ops.store_rows(dk_sum.data, D, hdk.at(key_row, kv_head), hdk.row_stride, all_keys, D);
        ops.store_rows(dv_sum.data, D, hdv.at(key_row, kv_head), hdv.row_stride, all_keys, D);
      }
    }
  });
}

}  // namespace trireme::kernels
