// Models of torch::nn modules, data for them, and the loop that a torch user writes: the oracle of
// the library face's tests.
#pragma once

#include <ATen/ATen.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>
#include <torch/nn/utils/clip_grad.h>
#include <torch/optim/adamw.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace trireme::testing {

constexpr int64_t kClasses = 4;

// A small classifier of [N, 1, 8, 8] images.
struct ConvNet : torch::nn::Module {
  ConvNet()
      : conv1(register_module("conv1", torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 6, 3)))),
        norm(register_module("norm", torch::nn::GroupNorm(2, 6))),
        conv2(register_module("conv2", torch::nn::Conv2d(torch::nn::Conv2dOptions(6, 8, 3)))),
        fc(register_module("fc", torch::nn::Linear(8 * 4 * 4, kClasses))) {}
  at::Tensor forward(const at::Tensor& x) {
    const at::Tensor h = at::relu(norm(conv1(x)));
    return fc(at::relu(conv2(h)).flatten(1));
  }
  torch::nn::Conv2d conv1;
  torch::nn::GroupNorm norm;
  torch::nn::Conv2d conv2;
  torch::nn::Linear fc;
};

// A transformer block of torch::nn parts over 8 "tokens" of 8 pixels; the output product's weight
// is the table of positions too (tied), one parameter is a scalar, one is frozen.
struct TinyTransformer : torch::nn::Module {
  static constexpr int64_t kWidth = 8, kHeads = 2;
  TinyTransformer()
      : norm1(
            register_module("norm1", torch::nn::LayerNorm(torch::nn::LayerNormOptions({kWidth})))),
        qkv(register_module("qkv", torch::nn::Linear(kWidth, 3 * kWidth))),
        proj(register_module("proj", torch::nn::Linear(kWidth, kWidth))),
        norm2(
            register_module("norm2", torch::nn::LayerNorm(torch::nn::LayerNormOptions({kWidth})))),
        up(register_module("up", torch::nn::Linear(kWidth, 2 * kWidth))),
        down(register_module("down", torch::nn::Linear(2 * kWidth, kWidth))),
        head(register_module("head", torch::nn::Linear(kWidth, kClasses))),
        positions(register_parameter("positions", at::randn({8, kWidth}))),
        mix(register_parameter("mix", positions)),
        scale(register_parameter("scale", at::ones({}))),
        frozen(register_parameter("frozen", at::randn({kWidth}), /*requires_grad=*/false)) {}
  at::Tensor forward(const at::Tensor& images) {
    at::Tensor x = images.squeeze(1) + positions + frozen;  // [N, 8, 8]
    const auto heads = [&](const at::Tensor& t) {
      return t.view({t.size(0), 8, kHeads, kWidth / kHeads}).transpose(1, 2);
    };
    const auto parts = qkv(norm1(x)).chunk(3, -1);
    const at::Tensor a =
        at::scaled_dot_product_attention(heads(parts[0]), heads(parts[1]), heads(parts[2]));
    x = x + proj(a.transpose(1, 2).flatten(2));
    x = x + down(at::gelu(up(norm2(x))));
    return head(at::matmul(x, mix.t()).mean(1)) * scale;
  }
  torch::nn::LayerNorm norm1;
  torch::nn::Linear qkv, proj;
  torch::nn::LayerNorm norm2;
  torch::nn::Linear up, down, head;
  at::Tensor positions, mix, scale, frozen;
};

// A residual block, and a stack of them whose parts are called through run_unit: a plain call by
// itself, DataParallel's where it distributes. The head's weight is the table of biases too (tied).
struct ResidualBlock : torch::nn::Module {
  explicit ResidualBlock(int64_t width)
      : norm(register_module("norm", torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})))),
        up(register_module("up", torch::nn::Linear(width, 2 * width))),
        down(register_module("down", torch::nn::Linear(2 * width, width))) {}
  at::Tensor forward(const at::Tensor& x) { return x + down(at::gelu(up(norm(x)))); }
  torch::nn::LayerNorm norm;
  torch::nn::Linear up, down;
};

struct Stack : torch::nn::Module {
  static constexpr int64_t kWidth = 12;
  using Forward = std::function<at::Tensor(const at::Tensor&)>;

  struct Tied : torch::nn::Module {
    explicit Tied(const at::Tensor& table) : weight(register_parameter("weight", table)) {}
    at::Tensor weight;
  };

  static std::vector<std::string> units() { return {"embed", "block0", "block1", "head"}; }

  Stack()
      : embed(register_module("embed", torch::nn::Linear(64, kWidth))),
        block0(register_module("block0", std::make_shared<ResidualBlock>(kWidth))),
        block1(register_module("block1", std::make_shared<ResidualBlock>(kWidth))),
        head(register_module("head", torch::nn::Linear(kWidth, kClasses))),
        tied(block1->register_module("tied", std::make_shared<Tied>(head->weight))) {}

  at::Tensor forward(const at::Tensor& images) {
    at::Tensor x =
        run_unit("embed", images.flatten(1), [&](const at::Tensor& in) { return embed(in); });
    x = run_unit("block0", x, [&](const at::Tensor& in) { return block0->forward(in); });
    x = run_unit("block1", x,
                 [&](const at::Tensor& in) { return block1->forward(in) + tied->weight.mean(0); });
    return run_unit("head", x, [&](const at::Tensor& in) { return head(in); });
  }
  std::function<at::Tensor(const std::string&, const at::Tensor&, const Forward&)> run_unit =
      [](const std::string&, const at::Tensor& x, const Forward& forward) { return forward(x); };

  torch::nn::Linear embed;
  std::shared_ptr<ResidualBlock> block0, block1;
  torch::nn::Linear head;
  std::shared_ptr<Tied> tied;
};

struct Images {
  at::Tensor x, y;
};

// The same for every rank; another batch each step.
inline Images images(int64_t samples, int64_t step) {
  const at::Tensor t = at::arange(samples * 64, at::kFloat) + static_cast<double>(step * 1000);
  const at::Tensor x = at::sin(t * 1.7).view({samples, 1, 8, 8});
  const at::Tensor y = (at::arange(samples) + step) % kClasses;
  return {x + y.view({-1, 1, 1, 1}).to(at::kFloat) * 0.5, y};
}

// The sum of the losses of samples [begin, end), fp32.
template <class Model>
at::Tensor loss_sum(Model& model, const Images& data, int64_t begin, int64_t end,
                    at::ScalarType dtype = at::kFloat) {
  const at::Tensor out = model.forward(data.x.slice(0, begin, end).to(dtype));
  return at::cross_entropy_loss(out.to(at::kFloat), data.y.slice(0, begin, end), {},
                                at::Reduction::Sum);
}

template <class Model>
std::shared_ptr<Model> make_model(uint64_t seed = 3) {
  at::manual_seed(seed);
  return std::make_shared<Model>();
}

// Registered tensors, each once.
inline std::vector<at::Tensor> trained_parameters(const torch::nn::Module& module) {
  std::vector<at::Tensor> once;
  for (const at::Tensor& p : module.parameters()) {
    bool seen = !p.requires_grad();
    for (const at::Tensor& other : once) seen = seen || other.is_same(p);
    if (!seen) once.push_back(p);
  }
  return once;
}

struct Curve {
  std::vector<double> losses;
  std::vector<double> grad_norms;
  std::vector<at::Tensor> weights;  // at the end, fp32
};

// torch's own loop: one process, one batch a step, torch::optim::AdamW.
template <class Model>
Curve torch_loop(int64_t samples, int64_t steps, double lr, double clip_norm) {
  const auto model = make_model<Model>();
  const std::vector<at::Tensor> parameters = trained_parameters(*model);
  torch::optim::AdamW optimizer(parameters, torch::optim::AdamWOptions(lr).weight_decay(0.01));
  Curve curve;
  for (int64_t step = 0; step < steps; ++step) {
    optimizer.zero_grad();
    const at::Tensor loss =
        loss_sum(*model, images(samples, step), 0, samples) / static_cast<double>(samples);
    loss.backward();
    curve.losses.push_back(loss.item<double>());
    curve.grad_norms.push_back(torch::nn::utils::clip_grad_norm_(parameters, clip_norm));
    optimizer.step();
  }
  for (const at::Tensor& p : parameters) curve.weights.push_back(p.detach().clone());
  return curve;
}

}  // namespace trireme::testing
