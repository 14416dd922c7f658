#include "trireme/nn/tape.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "trireme/base/error.h"
#include "trireme/nn/layers.h"
#include "trireme/nn/unit.h"

namespace trireme::nn {
namespace {

using Tensors = std::vector<at::Tensor>;

at::Tensor squared(const at::Tensor& x) {
  return record((x * x).detach(), {x}, "Square",
                [x](const Tensors& dy) -> Tensors { return {dy[0] * 2 * x.detach()}; });
}

TEST(Tape, ComposesWithAutograd) {
  const at::Tensor x = at::arange(4, at::kFloat).set_requires_grad(true);
  (squared(at::sin(x)) + x).sum().backward();
  EXPECT_TRUE(at::allclose(x.grad(), 2 * at::sin(x.detach()) * at::cos(x.detach()) + 1));
}

TEST(Tape, WithoutGradientsNothingIsKept) {
  bool dropped = false;
  struct Flag {
    bool* flag;
    ~Flag() { *flag = true; }
  };
  auto flag = std::make_shared<Flag>(Flag{&dropped});
  const at::Tensor x = at::ones({2});
  const at::Tensor y = record(x + 1, {x}, "Keep", [flag](const Tensors& dy) { return dy; });
  flag.reset();
  EXPECT_TRUE(dropped);
  EXPECT_FALSE(y.requires_grad());
}

TEST(Tape, AnUnusedOutputHasZeroGradient) {
  const at::Tensor x = at::ones({3}).set_requires_grad(true);
  const at::Tensor a = x.detach() * 2, b = x.detach() * 3;
  record({a, b}, {x}, "Two", [](const Tensors& dy) -> Tensors { return {dy[0] * 2 + dy[1] * 3}; });
  b.sum().backward();
  EXPECT_TRUE(at::equal(x.grad(), at::full({3}, 3.0)));
}

TEST(Tape, ASecondBackwardIsAnError) {
  const at::Tensor x = at::ones({2}).set_requires_grad(true);
  const at::Tensor y = squared(x).sum();
  y.backward({}, /*retain_graph=*/true);
  EXPECT_THROW(y.backward(), std::exception);
}

// A frozen Param: the gradient passes through it, and nobody hears of it.
TEST(Layers, FrozenParamsAreSkipped) {
  struct Sink : GradSink {
    std::vector<std::string> names;
    void param_ready(Param& param) override { names.push_back(param.spec.name); }
  } sink;
  Linear layer("layer", 3, 2, 0.1);
  UnitParams unit{"layer", {}};
  layer.collect(unit.params);
  allocate_values({unit}, at::kFloat);
  layer.weight.value.fill_(0.5);
  layer.bias.main_grad = at::zeros({2});
  layer.weight.sink = layer.bias.sink = &sink;
  const at::Tensor x = at::ones({64, 3}).set_requires_grad(true);
  layer.forward(x, {}).sum().backward();
  EXPECT_TRUE(at::equal(x.grad(), at::full({64, 3}, 1.0)));
  EXPECT_EQ(sink.names, std::vector<std::string>{"layer.bias"});
  EXPECT_TRUE(at::equal(layer.bias.main_grad, at::full({2}, 64.0)));
}

}  // namespace
}  // namespace trireme::nn
