#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/optim/adamw.h>

#include <cmath>
#include <limits>

#include "trireme/base/json.h"
#include "trireme/optim/adamw.h"
#include "trireme/optim/grad_norm.h"
#include "trireme/optim/schedule.h"

namespace trireme::optim {
namespace {

// Made by tests/golden/make_optim.py.
Json golden() {
  return read_json_file(TRIREME_SOURCE_DIR "/tests/golden/optim/optim.json");
}

at::Tensor floats(const Json& list) {
  return at::tensor(list.get<std::vector<double>>(), at::kDouble).to(at::kFloat);
}

TEST(Schedule, EqualsTransformers) {
  const std::map<std::string, ScheduleKind> kinds = {{"linear", ScheduleKind::kLinear},
                                                     {"cosine", ScheduleKind::kCosine},
                                                     {"constant", ScheduleKind::kConstant},
                                                     {"wsd", ScheduleKind::kWsd}};
  const Json all = golden();
  ASSERT_GE(all["schedules"].size(), 18U);
  for (const Json& wanted : all["schedules"]) {
    const Schedule schedule{kinds.at(wanted["kind"]), wanted["total"], wanted["warmup"],
                            wanted["decay"]};
    for (size_t step = 0; step < wanted["factors"].size(); ++step) {
      EXPECT_NEAR(schedule.factor(static_cast<int64_t>(step)), wanted["factors"][step], 1e-15)
          << wanted["kind"] << " total " << wanted["total"] << " warmup " << wanted["warmup"]
          << " step " << step;
    }
  }
}

TEST(Schedule, RatiosRoundUp) {
  EXPECT_EQ(ratio_to_steps(0.1, 101), 11);
  EXPECT_EQ(ratio_to_steps(0.1, 100), 10);
  EXPECT_EQ(ratio_to_steps(0.0, 100), 0);
}

// A buffer as the engine lays it out: two parameters, aligned, padding between and behind.
struct TwoParams {
  explicit TwoParams(const Json& initial, at::ScalarType dtype = at::kFloat) {
    buffer.name = "block";
    buffer.master = at::zeros({128}, at::kFloat);
    buffer.grad = at::zeros({128}, at::kFloat);
    buffer.value = dtype == at::kFloat ? buffer.master : at::zeros({128}, dtype);
    buffer.ranges = {{0, 96, true, 1.0}, {96, 128, false, 2.0}};
    put(buffer.master, initial);
  }
  static void put(at::Tensor& flat, const Json& values) {
    flat.narrow(0, 0, 70).copy_(floats(values[0]));
    flat.narrow(0, 96, 9).copy_(floats(values[1]));
  }
  FlatBuffer buffer;
};

TEST(AdamW, EqualsPyTorchWithClippingAndGroups) {
  const Json all = golden();
  const Json& wanted = all["adamw"];
  TwoParams params(wanted["initial"]);
  AdamW adamw({params.buffer}, {.beta1 = 0.9, .beta2 = 0.98, .eps = 1e-6, .weight_decay = 0.1});
  for (size_t step = 0; step < wanted["gradients"].size(); ++step) {
    TwoParams::put(params.buffer.grad, wanted["gradients"][step]);
    const double norm = std::sqrt(grad_sum_of_squares({params.buffer.grad}));
    EXPECT_NEAR(norm, wanted["norms"][step].get<double>(), 1e-5 * norm);
    adamw.step({.lr = 0.01, .grad_factor = clip_factor(norm, 1.0)});
    at::Tensor expected = at::zeros({128}, at::kFloat);
    TwoParams::put(expected, wanted["params"][step]);
    EXPECT_LE((params.buffer.master - expected).abs().max().item<double>(), 5e-7) << step;
  }
  EXPECT_EQ(adamw.steps(), 6);
}

TEST(AdamW, ValuesAreTheRoundedMasters) {
  const Json all = golden();
  TwoParams params(all["adamw"]["initial"], at::kBFloat16);
  AdamW adamw({params.buffer}, {});
  TwoParams::put(params.buffer.grad, all["adamw"]["gradients"][0]);
  adamw.step({.lr = 0.01});
  EXPECT_TRUE(at::equal(params.buffer.value, params.buffer.master.to(at::kBFloat16)));
  EXPECT_GT(params.buffer.value.abs().max().item<double>(), 0.0);
}

// Moments and the step count are the whole state: what a checkpoint keeps.
TEST(AdamW, GoesOnFromItsStateBitForBit) {
  const Json all = golden();
  const Json& gradients = all["adamw"]["gradients"];
  TwoParams whole(all["adamw"]["initial"]), second(all["adamw"]["initial"]);
  AdamW one({whole.buffer}, {});
  for (size_t step = 0; step < 3; ++step) {
    TwoParams::put(whole.buffer.grad, gradients[step]);
    one.step({.lr = 0.01});
  }
  AdamW two({second.buffer}, {});
  second.buffer.master.copy_(whole.buffer.master);
  two.moments()[0].exp_avg.copy_(one.moments()[0].exp_avg);
  two.moments()[0].exp_avg_sq.copy_(one.moments()[0].exp_avg_sq);
  two.set_steps(one.steps());
  TwoParams::put(whole.buffer.grad, gradients[3]);
  TwoParams::put(second.buffer.grad, gradients[3]);
  one.step({.lr = 0.01});
  two.step({.lr = 0.01});
  EXPECT_TRUE(at::equal(whole.buffer.master, second.buffer.master));
}

// Runs longer than one fused call, and any number of threads: the same bits.
TEST(AdamW, LongBuffersAndThreadsDoNotMatter) {
  const int64_t numel = 200'000;
  const auto run = [&](int threads) {
    at::set_num_threads(threads);
    FlatBuffer buffer{"long",
                      at::sin(at::arange(numel, at::kFloat)),
                      at::cos(at::arange(numel, at::kFloat) * 3),
                      {},
                      {{0, numel, true, 1.0}}};
    buffer.value = buffer.master;
    const double squares = grad_sum_of_squares({buffer.grad});
    AdamW adamw({buffer}, {});
    adamw.step({.lr = 0.01, .grad_factor = 0.25});
    at::set_num_threads(1);
    return std::pair(squares, buffer.master);
  };
  const auto [one_squares, one_master] = run(1);
  const auto [two_squares, two_master] = run(2);
  EXPECT_EQ(one_squares, two_squares);
  EXPECT_TRUE(at::equal(one_master, two_master));

  const at::Tensor master = at::sin(at::arange(numel, at::kFloat)).set_requires_grad(true);
  torch::optim::AdamW reference({master}, torch::optim::AdamWOptions(0.01).weight_decay(0.01));
  master.mutable_grad() = at::cos(at::arange(numel, at::kFloat) * 3) * 0.25;
  reference.step();
  EXPECT_LE((one_master - master).abs().max().item<double>(), 2e-7);
  EXPECT_NEAR(one_squares,
              at::cos(at::arange(numel, at::kFloat) * 3).square().sum(at::kDouble).item<double>(),
              1e-2);
}

TEST(GradNorm, IsNotFiniteWhenAGradientIsNot) {
  FlatBuffer buffer{"b", at::zeros({64}), at::ones({64}), at::zeros({64}), {{0, 64, true, 1.0}}};
  EXPECT_EQ(grad_sum_of_squares({buffer.grad, buffer.grad}), 128.0);
  buffer.grad[3] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(std::isinf(grad_sum_of_squares({buffer.grad})));
  buffer.grad[4] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(grad_sum_of_squares({buffer.grad})));
}

TEST(GradNorm, ClipsAsPyTorchDoes) {
  EXPECT_EQ(clip_factor(0.5, 1.0), 1.0);
  EXPECT_DOUBLE_EQ(clip_factor(4.0, 1.0), 1.0 / (4.0 + 1e-6));
  EXPECT_EQ(clip_factor(4.0, 0.0), 1.0);
}

}  // namespace
}  // namespace trireme::optim
