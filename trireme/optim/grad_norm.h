// The global gradient norm, and what clipping by it multiplies the gradients by.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace trireme::optim {

// Sum of squares of the elements of flat fp32 gradients (those of this rank: parallel::grad_norm()
// is over all). Runs of a fixed length are summed in fp32, the runs in double and in order: the
// same bits whatever the number of threads. NaN or infinity when a gradient is not finite (or
// beyond 1e18).
double grad_sum_of_squares(const std::vector<at::Tensor>& grads);

// min(1, clip_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_; 1 when clip_norm is 0
// (off).
double clip_factor(double norm, double clip_norm);

}  // namespace trireme::optim
