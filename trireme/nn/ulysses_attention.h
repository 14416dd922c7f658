// Attention over a context-parallel group by heads: context_parallel.h.
#pragma once

#include "trireme/nn/context_parallel.h"

namespace trireme::nn {

// Throws input_error when the heads do not divide over the group.
at::Tensor ulysses_attention(const at::Tensor& qkv, int64_t heads,
                             const kernels::AttentionOptions& options,
                             const ContextParallelPtr& cp);

}  // namespace trireme::nn
