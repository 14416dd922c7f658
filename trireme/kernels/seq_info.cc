#include "trireme/kernels/seq_info.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "trireme/base/error.h"

namespace trireme::kernels {

SeqInfo SeqInfo::self(std::span<const int32_t> lengths) {
  SeqInfo seq;
  seq.cu_q_host.reserve(lengths.size() + 1);
  seq.cu_q_host.push_back(0);
  for (int32_t length : lengths) {
    if (length < 1)
      throw input_error("a packed sequence of ", length,
                        " tokens; every sequence has at least one");
    seq.cu_q_host.push_back(seq.cu_q_host.back() + length);
    seq.max_q = std::max(seq.max_q, length);
  }
  seq.cu_k_host = seq.cu_q_host;
  seq.q_start_host.assign(lengths.size(), 0);
  seq.max_k = seq.max_q;
  seq.cu_q = at::tensor(seq.cu_q_host, at::kInt);
  seq.cu_k = seq.cu_q;
  seq.q_start = at::zeros({static_cast<int64_t>(lengths.size())}, at::kInt);
  return seq;
}

SeqInfo SeqInfo::continued(int32_t past, int32_t tokens) {
  if (past < 0 || tokens < 1)
    throw input_error("a sequence of ", past, " tokens and ", tokens, " more");
  SeqInfo seq;
  seq.cu_q_host = {0, tokens};
  seq.cu_k_host = {0, past + tokens};
  seq.q_start_host = {past};
  seq.max_q = tokens;
  seq.max_k = past + tokens;
  seq.cu_q = at::tensor(seq.cu_q_host, at::kInt);
  seq.cu_k = at::tensor(seq.cu_k_host, at::kInt);
  seq.q_start = at::tensor(seq.q_start_host, at::kInt);
  return seq;
}

}  // namespace trireme::kernels
