// Attention over a context-parallel group by a ring: context_parallel.h.
#pragma once

#include "trireme/nn/context_parallel.h"

namespace trireme::nn {

at::Tensor ring_attention(const at::Tensor& qkv, int64_t heads,
                          const kernels::AttentionOptions& options, const ContextParallelPtr& cp);

}  // namespace trireme::nn
