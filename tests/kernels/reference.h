// The slow, plainly right forms of the kernels, in double and by autograd: the oracles.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <vector>

#include "trireme/base/random.h"
#include "trireme/kernels/dropout.h"
#include "trireme/kernels/seq_info.h"

namespace trireme::kernels::reference {

// 1 / (1 - p) where element `element` of (sample, position) is kept, 0 where it is dropped:
// dropout.h's words, a draw at a time.
inline double keep(const Dropout& dropout, const DropoutKey& key, uint32_t head, uint32_t sample,
                   uint32_t position, uint32_t element) {
  const auto threshold = static_cast<uint32_t>(std::lround(dropout.p * 65536.0));
  const PhiloxCounter words = philox4x32<7>({element / 8, position, sample, dropout.site + head},
                                            philox_key(mix_seeds(key.seed, key.step)));
  const uint32_t word = words[element % 8 / 2];
  const uint32_t draw = element % 2 == 0 ? word & 0xffff : word >> 16;
  return draw < threshold ? 0.0 : 1.0 / (1.0 - threshold / 65536.0);
}

// The mask of a whole matrix [T, n].
inline at::Tensor keep_mask(const Dropout& dropout, const DropoutKey& key, int64_t T, int64_t n) {
  at::Tensor mask = at::ones({T, n}, at::kDouble);
  if (dropout.p == 0.0) return mask;
  for (int64_t t = 0; t < T; ++t) {
    const auto sample = static_cast<uint32_t>(key.row_sample[t].item<int32_t>());
    const auto position = static_cast<uint32_t>(key.row_position[t].item<int32_t>());
    for (int64_t j = 0; j < n; ++j) {
      mask[t][j] = keep(dropout, key, 0, sample, position, static_cast<uint32_t>(j));
    }
  }
  return mask;
}

// Attention in double: q [T, Nq, D], k, v [Tk, Nkv, D] -> [T, Nq, D], differentiable.
inline at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const SeqInfo& seq, bool causal, double scale, const Dropout& dropout,
                            const DropoutKey& key) {
  const int64_t Nq = q.size(1), group = Nq / k.size(1);
  std::vector<at::Tensor> rows;
  for (int64_t b = 0; b < seq.sequences(); ++b) {
    const int64_t q0 = seq.cu_q_host[b], nq = seq.cu_q_host[b + 1] - q0;
    const int64_t k0 = seq.cu_k_host[b], nk = seq.cu_k_host[b + 1] - k0;
    std::vector<at::Tensor> heads;
    for (int64_t h = 0; h < Nq; ++h) {
      at::Tensor scores =
          at::mm(q.narrow(0, q0, nq).select(1, h), k.narrow(0, k0, nk).select(1, h / group).t()) *
          scale;
      at::Tensor mask = at::ones({nq, nk}, at::kDouble);
      for (int64_t i = 0; i < nq; ++i) {
        const int64_t position = seq.q_start_host[b] + i;
        for (int64_t j = 0; j < nk; ++j) {
          if (causal && j > position)
            scores = scores.index_put({at::tensor(i), at::tensor(j)},
                                      at::scalar_tensor(-INFINITY, at::kDouble));
          if (dropout.p > 0.0) {
            mask[i][j] = keep(dropout, key, static_cast<uint32_t>(h),
                              static_cast<uint32_t>(key.row_sample[q0 + i].item<int32_t>()),
                              static_cast<uint32_t>(position), static_cast<uint32_t>(j));
          }
        }
      }
      heads.push_back(
          at::mm(at::softmax(scores, 1) * mask, v.narrow(0, k0, nk).select(1, h / group)));
    }
    rows.push_back(at::stack(heads, 1));
  }
  if (seq.real_tokens() < q.size(0)) {
    rows.push_back(at::zeros({q.size(0) - seq.real_tokens(), Nq, q.size(2)}, at::kDouble));
  }
  return at::cat(rows, 0);
}

}  // namespace trireme::kernels::reference

namespace trireme::testing {

// ||a - b|| / ||b|| over all elements, in double.
inline double relative_error(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor wide = b.to(at::kDouble);
  return ((a.to(at::kDouble) - wide).norm() / (wide.norm() + 1e-300)).item<double>();
}

}  // namespace trireme::testing
