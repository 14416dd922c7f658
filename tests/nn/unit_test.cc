#include "trireme/nn/unit.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "trireme/nn/tape.h"

namespace trireme::nn {
namespace {

using ::testing::ElementsAre;

struct Log final : UnitHooks {
  std::vector<std::string> events;
  void before_forward(const UnitId& id) override { events.push_back("F" + id.name); }
  void after_forward(const UnitId& id) override { events.push_back("f" + id.name); }
  void before_backward(const UnitId& id) override { events.push_back("B" + id.name); }
  void after_backward(const UnitId& id) override { events.push_back("b" + id.name); }
};

// x w, and x w^2 as a second output; counts its runs.
struct TwoOutputs {
  explicit TwoOutputs(double w) : w(w) {}
  std::array<at::Tensor, 2> forward(const at::Tensor& x, Context&, double factor) {
    ++runs;
    return {x * (w * factor), x * (w * w * factor)};
  }
  void collect(std::vector<Param*>&) {}
  double w;
  int runs = 0;
};

struct Dropped {
  static constexpr double kP = 0.5;
  at::Tensor forward(const at::Tensor& x, Context&) { return at::dropout(x.sin(), kP, true); }
  void collect(std::vector<Param*>&) {}
};

// An input whose gradient nobody wants: an embedding's root.
struct Root {
  at::Tensor forward(const at::Tensor& root, Context&) {
    return record(at::ones({3}), {root}, "Root",
                  [](const std::vector<at::Tensor>&) { return std::vector<at::Tensor>(1); });
  }
  void collect(std::vector<Param*>&) {}
};

class UnitBackward : public ::testing::TestWithParam<bool> {
 protected:
  Context context() {
    Context c;
    c.hooks = &log_;
    c.recompute = GetParam();
    return c;
  }
  Log log_;
};

TEST_P(UnitBackward, HooksComeAroundBothPasses) {
  Unit<TwoOutputs> first{0, "1", 3.0}, second{1, "2", 5.0};
  Context c = context();
  const at::Tensor x = at::ones({2}).requires_grad_();
  const auto [a, b] = first(x, c, 2.0);
  const auto [d, e] = second(a + b, c, 1.0);
  (d + e).sum().backward();
  EXPECT_THAT(log_.events, ElementsAre("F1", "f1", "F2", "f2", "B2", "b2", "B1", "b1"));
  EXPECT_EQ(x.grad()[0].item<double>(), (6 + 18) * 30);
  EXPECT_EQ(first.block().runs, GetParam() ? 2 : 1);
}

TEST_P(UnitBackward, AnUnusedOutputHasNoGradient) {
  Unit<TwoOutputs> used{0, "used", 3.0}, unused{1, "unused", 5.0};
  Context c = context();
  const at::Tensor x = at::ones({2}).requires_grad_();
  const auto ys = used(x, c, 1.0);
  const auto zs = unused(ys[1], c, 1.0);
  (ys[0] + 0).sum().backward();
  EXPECT_THAT(log_.events, ElementsAre("Fused", "fused", "Funused", "funused", "Bused", "bused"));
  EXPECT_EQ(x.grad()[0].item<double>(), 3);
}

TEST_P(UnitBackward, EndsWhereNoGradientGoesOn) {
  Unit<Root> embedding{0, "root"};
  Context c = context();
  embedding(graph_root(), c).sum().backward();
  EXPECT_THAT(log_.events, ElementsAre("Froot", "froot", "Broot", "broot"));
}

TEST_P(UnitBackward, WithoutAGraphThereIsNone) {
  Unit<TwoOutputs> unit{0, "1", 3.0};
  Context c = context();
  EXPECT_FALSE(unit(at::ones({2}), c, 1.0)[0].requires_grad());
  EXPECT_THAT(log_.events, ElementsAre("F1", "f1"));
}

INSTANTIATE_TEST_SUITE_P(Recompute, UnitBackward, ::testing::Bool());

TEST(Recompute, ReplaysTheGeneratorAndLeavesItAlone) {
  const auto run = [](bool recompute) {
    at::manual_seed(3);
    Unit<Dropped> unit{0, "dropped"};
    Context c;
    c.recompute = recompute;
    const at::Tensor x = at::arange(100, at::kFloat).requires_grad_();
    const at::Tensor y = unit(x, c);
    const at::Tensor between = at::rand({4});
    y.sum().backward();
    return std::vector<at::Tensor>{y.detach(), x.grad(), between, at::rand({4})};
  };
  const auto with = run(true), without = run(false);
  for (size_t i = 0; i < with.size(); ++i) EXPECT_TRUE(at::equal(with[i], without[i])) << i;
}

TEST(Recompute, NeedsNothingOfTheCallersAfterwards) {
  struct Lengths {
    at::Tensor forward(const at::Tensor& x, Context& c) {
      return x * static_cast<double>(c.seq->real_tokens());
    }
    void collect(std::vector<Param*>&) {}
  };
  Unit<Lengths> unit{0, "lengths"};
  const at::Tensor x = at::ones({2}).requires_grad_();
  at::Tensor y;
  {
    std::optional<kernels::SeqInfo> seq = kernels::SeqInfo::self(std::vector<int32_t>{4, 3});
    std::optional<Context> c(std::in_place);
    c->seq = &*seq;
    c->recompute = true;
    y = unit(x, *c);
    seq->cu_q_host.clear();
  }
  y.sum().backward();
  EXPECT_EQ(x.grad()[1].item<double>(), 7);
}

}  // namespace
}  // namespace trireme::nn
