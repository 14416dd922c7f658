#include "trireme/optim/grad_norm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

namespace trireme::optim {
namespace {

constexpr int64_t kRun = 1 << 16;  // elements; 256 KiB

}  // namespace

double grad_sum_of_squares(const std::vector<at::Tensor>& grads) {
  at::NoGradGuard no_grad;
  double total = 0.0;
  for (const at::Tensor& grad : grads) {
    const int64_t numel = grad.numel();
    const int64_t runs = (numel + kRun - 1) / kRun;
    std::vector<float> sums(static_cast<size_t>(runs));
    at::parallel_for(0, runs, 1, [&](int64_t begin, int64_t end) {
      at::NoGradGuard no_grad_here;
      for (int64_t i = begin; i < end; ++i) {
        const at::Tensor run = grad.narrow(0, i * kRun, std::min(kRun, numel - i * kRun));
        sums[static_cast<size_t>(i)] = at::dot(run, run).item<float>();
      }
    });
    for (const float sum : sums) total += sum;
  }
  return total;
}

double clip_factor(double norm, double clip_norm) {
  return clip_norm > 0.0 ? std::min(1.0, clip_norm / (norm + 1e-6)) : 1.0;
}

}  // namespace trireme::optim
