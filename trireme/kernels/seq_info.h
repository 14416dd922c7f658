// Where the sequences of a packed batch lie. Sequences stand end to end in [T, ...] tensors,
// without padding between them; rows behind the last sequence (T is rounded up) belong to none.
//
//   SeqInfo seq = SeqInfo::self(lengths);              // self-attention: queries and keys are the
//   same rows rows of sequence b: seq.cu_q_host[b] .. seq.cu_q_host[b + 1]
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

namespace trireme::kernels {

// B sequences. A query's position in its sequence is q_start[b] + its row in the sequence; a key's
// position is its row: so chunked prefill and paged decode need no other form. (Keys that lie
// apart: attention_part.h.)
struct SeqInfo {
  std::vector<int32_t>
      cu_q_host;  // [B + 1] first query row of each sequence; the last entry is T_real
  std::vector<int32_t> cu_k_host;     // [B + 1] the same for keys
  std::vector<int32_t> q_start_host;  // [B] position of a sequence's first query
  int32_t max_q = 0;                  // longest query run, in tokens
  int32_t max_k = 0;                  // longest key run, in tokens
  at::Tensor cu_q, cu_k, q_start;     // the same as int32 tensors on the batch's device

  int64_t sequences() const { return static_cast<int64_t>(q_start_host.size()); }
  int64_t real_tokens() const { return cu_q_host.empty() ? 0 : cu_q_host.back(); }

  // Sequences of these lengths (each >= 1, in tokens) that attend to themselves.
  static SeqInfo self(std::span<const int32_t> lengths);
  // One sequence whose last `tokens` tokens attend to all `past + tokens` there are.
  static SeqInfo continued(int32_t past, int32_t tokens);
};

}  // namespace trireme::kernels
