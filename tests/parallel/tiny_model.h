// A small model of our own layers, and data for it: what the engine's tests train.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "trireme/nn/layers.h"
#include "trireme/nn/unit.h"

namespace trireme::testing {

constexpr int64_t kInputs = 5, kHidden = 7, kOutputs = 3;

struct TinyBlock {
  TinyBlock(const std::string& name, int64_t in, int64_t out) : linear(name, in, out, 0.5) {}
  at::Tensor forward(const at::Tensor& x, nn::Context& context) {
    return linear.forward(x.to(linear.weight.value.scalar_type()), context);
  }
  void collect(std::vector<nn::Param*>& params) { linear.collect(params); }
  nn::Linear linear;
};

// Two layers; the head's bias has another learning-rate scale.
class TinyModel {
 public:
  TinyModel() {
    head_.block().linear.bias.spec.lr_scale = 2.0;
    head_.block().linear.bias.spec.init = nn::InitKind::kOnes;
  }
  at::Tensor forward(const at::Tensor& x, nn::Context& context) {
    return head_(at::tanh(body_(x, context)), context);
  }
  std::vector<nn::UnitParams> units() { return {body_.params(), head_.params()}; }

 private:
  nn::Unit<TinyBlock> body_{0, "body", "body.dense", kInputs, kHidden};
  nn::Unit<TinyBlock> head_{1, "head", "head.dense", kHidden, kOutputs};
};

struct TinyData {
  at::Tensor x, y;
};

// The same for every rank.
inline TinyData tiny_data(int64_t samples, int64_t step = 0) {
  const auto t = at::arange(samples * kInputs, at::kFloat) + static_cast<double>(step * 1000);
  const at::Tensor x = at::sin(t * 1.7).view({samples, kInputs});
  return {x, at::cos(x.narrow(1, 0, kOutputs) * 2 + x.narrow(1, 2, kOutputs))};
}

// The share that rows [begin, end) have in the mean squared error of `count` samples.
inline at::Tensor tiny_loss(TinyModel& model, nn::Context& context, const TinyData& data,
                            int64_t begin, int64_t end, int64_t count) {
  at::Tensor x = data.x.narrow(0, begin, end - begin);
  const at::Tensor out = model.forward(x.clone().requires_grad_(), context);
  const at::Tensor y = data.y.narrow(0, begin, end - begin);
  return (out.to(at::kFloat) - y).square().sum() / static_cast<double>(count);
}

}  // namespace trireme::testing
