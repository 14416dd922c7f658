// AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019) over flat
// buffers: a handful of fused calls a step, whatever the number of parameters.
//
//   AdamW adamw(engine.flat_buffers(), {.weight_decay = 0.01});
//   adamw.step({.lr = lr, .grad_factor = clip.factor});
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "trireme/optim/flat_buffer.h"

namespace trireme::optim {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;  // in ranges with decay; 0 in the others
};

struct StepOptions {
  double lr = 0.0;
  double grad_factor = 1.0;  // gradients are multiplied by it first (clipping); > 0
};

class AdamW {
 public:
  // Moments of a buffer: flat fp32 tensors with the buffer's layout, zero at first; undefined where
  // it is frozen.
  struct Moments {
    at::Tensor exp_avg;
    at::Tensor exp_avg_sq;
  };

  // Keeps the buffers' tensors (shared storage, no copies).
  AdamW(std::vector<FlatBuffer> buffers, AdamWOptions options);

  // One update of the masters from the gradients, then of the values where they are copies.
  // Gradients stay as they are: the next step's first ones replace them (nn::Param::grad_target).
  void step(const StepOptions& options);

  // Updates taken: the exponent of the bias correction.
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps);
  // By buffer, in the order given; for checkpoints to read and write.
  std::vector<Moments>& moments() { return moments_; }
  const std::vector<Moments>& moments() const { return moments_; }

 private:
  // Cache-sized runs that one fused call updates, with one setting.
  struct Run {
    at::Tensor master, grad, value, exp_avg, exp_avg_sq;
    bool decay;
    double lr_scale;
  };

  std::vector<FlatBuffer> buffers_;
  AdamWOptions options_;
  std::vector<Moments> moments_;
  std::vector<Run> runs_;
  int64_t steps_ = 0;
  at::Tensor step_;          // fp32 scalar: what the fused kernel reads steps_ from
  at::Tensor grad_divisor_;  // fp32 scalar: 1 / grad_factor
};

}  // namespace trireme::optim
