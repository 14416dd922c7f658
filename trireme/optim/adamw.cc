#include "trireme/optim/adamw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "trireme/base/error.h"
#include "trireme/device/caching_allocator.h"

namespace trireme::optim {
namespace {

// Small enough that a run's master stays in a core's cache from the update to the rounding that
// follows it; a multiple of every vector width, so that no run but a
// range's last has a scalar tail.
constexpr int64_t kRun = 1 << 15;  // elements; 128 KiB of fp32

}  // namespace

AdamW::AdamW(std::vector<FlatBuffer> buffers, AdamWOptions options)
    : buffers_(std::move(buffers)),
      options_(options),
      step_(at::zeros({}, at::kFloat)),
      grad_divisor_(at::ones({}, at::kFloat)) {
  const device::MemoryScope scope(device::MemoryCategory::kOptimizer);
  for (const FlatBuffer& buffer : buffers_) {
    if (!buffer.grad.defined()) {
      moments_.emplace_back();
      continue;
    }
    Moments& moments = moments_.emplace_back(
        Moments{at::zeros_like(buffer.master), at::zeros_like(buffer.master)});
    for (const FlatRange& range : buffer.ranges) {
      for (int64_t begin = range.begin; begin < range.end; begin += kRun) {
        const int64_t numel = std::min(kRun, range.end - begin);
        const auto cut = [&](const at::Tensor& flat) { return flat.narrow(0, begin, numel); };
        runs_.push_back({cut(buffer.master), cut(buffer.grad), cut(buffer.value),
                         cut(moments.exp_avg), cut(moments.exp_avg_sq), range.decay,
                         range.lr_scale});
      }
    }
  }
}

void AdamW::step(const StepOptions& options) {
  at::NoGradGuard no_grad;
  ++steps_;
  step_.fill_(static_cast<double>(steps_));
  std::optional<at::Tensor> divisor;
  if (options.grad_factor != 1.0) {
    grad_divisor_.fill_(1.0 / options.grad_factor);
    divisor = grad_divisor_;
  }
  at::parallel_for(0, static_cast<int64_t>(runs_.size()), 1, [&](int64_t begin, int64_t end) {
    at::NoGradGuard no_grad_here;
    for (int64_t i = begin; i < end; ++i) {
      Run& run = runs_[static_cast<size_t>(i)];
      at::_fused_adamw_(run.master, run.grad, run.exp_avg, run.exp_avg_sq, {}, step_,
                        options.lr * run.lr_scale, options_.beta1, options_.beta2,
                        run.decay ? options_.weight_decay : 0.0, options_.eps, /*amsgrad=*/false,
                        /*maximize=*/false, divisor);
      if (run.value.data_ptr() != run.master.data_ptr()) run.value.copy_(run.master);
    }
  });
}

void AdamW::set_steps(int64_t steps) {
  if (steps < 0) throw run_error("AdamW: step count ", steps, " is negative");
  steps_ = steps;
}

}  // namespace trireme::optim
