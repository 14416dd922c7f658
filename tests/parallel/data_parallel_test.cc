#include "trireme/parallel/data_parallel.h"

#include <ATen/autocast_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include <cmath>
#include <mutex>

#include "tests/base/test_util.h"
#include "tests/parallel/recording_group.h"
#include "tests/parallel/tiny_model.h"
#include "tests/parallel/torch_models.h"
#include "trireme/base/error.h"
#include "trireme/comm/testing.h"

namespace trireme::parallel {
namespace {

using testing::ConvNet;
using testing::Curve;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::images;
using ::testing::IsEmpty;
using testing::loss_sum;
using testing::make_model;
using testing::Stack;
using ::testing::StartsWith;
using testing::TinyTransformer;

constexpr int64_t kSamples = 13;  // not divisible by any number of ranks
constexpr int64_t kSteps = 8;
constexpr double kRate = 5e-3, kClip = 0.3;

// Every rank makes its model from torch's one generator: one at a time, and each from the same
// seed.
std::mutex making;

struct Setting {
  int ranks = 1;
  int micro_batches = 1;
  at::ScalarType dtype = at::kFloat;
  int zero_stage = 0;
  bool recompute = false;
};

// The same run through DataParallel, each rank with a share of its own size; rank 0's curve.
template <class Model>
Curve distributed_loop(const Setting& setting) {
  Curve curve;
  comm::run_ranks(setting.ranks, [&](comm::World& world) {
    std::shared_ptr<Model> model;
    {
      const std::lock_guard lock(making);
      // Rank 0's weights count: the others start from other ones.
      model = make_model<Model>(3 + static_cast<uint64_t>(world.rank()));
    }
    DataParallelOptions options{.zero_stage = setting.zero_stage,
                                .recompute = setting.recompute,
                                .dtype = setting.dtype,
                                .clip_norm = kClip,
                                .module = {.bucket_bytes = 600}};
    if constexpr (requires { Model::units(); }) options.module.units = Model::units();
    DataParallel dp(*model, world.world_group(), options);
    if constexpr (requires { model->run_unit; }) {
      model->run_unit = [&dp](const std::string& name, const at::Tensor& x,
                              const Stack::Forward& f) { return dp.run_unit(name, x, f); };
    }
    const int64_t begin = kSamples * world.rank() / setting.ranks;
    const int64_t end = kSamples * (world.rank() + 1) / setting.ranks;
    for (int64_t step = 0; step < kSteps; ++step) {
      double loss = 0;
      if (setting.micro_batches > 1) dp.begin_step(setting.micro_batches);
      for (int64_t m = 0; m < setting.micro_batches; ++m) {
        const at::Tensor share =
            loss_sum(*model, images(kSamples, step),
                     begin + (end - begin) * m / setting.micro_batches,
                     begin + (end - begin) * (m + 1) / setting.micro_batches, setting.dtype) /
            static_cast<double>(kSamples);
        loss += share.template item<double>();
        dp.backward(share);
      }
      const double norm = dp.step(kRate).grad_norm;
      const double total = dp.sum(loss);
      if (world.rank() != 0) continue;
      curve.losses.push_back(total);
      curve.grad_norms.push_back(norm);
    }
    const WholeValues whole = dp.whole_values();
    if (world.rank() != 0) return;
    for (const at::Tensor& p : testing::trained_parameters(*model)) {
      curve.weights.push_back(p.detach().to(at::kFloat).clone());
      EXPECT_FALSE(p.grad().defined());
    }
  });
  return curve;
}

void expect_near(const Curve& got, const Curve& want, double tolerance) {
  ASSERT_EQ(got.losses.size(), want.losses.size());
  for (size_t i = 0; i < want.losses.size(); ++i) {
    EXPECT_NEAR(got.losses[i], want.losses[i], tolerance) << "step " << i;
    EXPECT_NEAR(got.grad_norms[i], want.grad_norms[i], 10 * tolerance * want.grad_norms[i])
        << "step " << i;
  }
  ASSERT_EQ(got.weights.size(), want.weights.size());
  for (size_t i = 0; i < want.weights.size(); ++i) {
    EXPECT_LE((got.weights[i] - want.weights[i]).norm().item<double>(),
              30 * tolerance * want.weights[i].norm().item<double>())
        << i;
  }
}

// Ranks, micro-batches, ZeRO stage.
class ModuleParity : public ::testing::TestWithParam<std::tuple<int, int, int>> {
 protected:
  static Setting setting() {
    const auto [ranks, micro_batches, stage] = GetParam();
    return {.ranks = ranks, .micro_batches = micro_batches, .zero_stage = stage};
  }
};

template <class Model>
void expect_parity_with_torch(const Setting& setting) {
  const Curve torch = testing::torch_loop<Model>(kSamples, kSteps, kRate, kClip);
  EXPECT_LT(torch.losses.back(), torch.losses.front());
  EXPECT_GT(torch.grad_norms.front(), kClip);  // clipping does something
  expect_near(distributed_loop<Model>(setting), torch, 1e-4);
}

TEST_P(ModuleParity, ConvNetEqualsTorchsLoop) {
  expect_parity_with_torch<ConvNet>(setting());
}

TEST_P(ModuleParity, TransformerWithTiedAndFrozenEqualsTorchsLoop) {
  expect_parity_with_torch<TinyTransformer>(setting());
}

// bf16 against the single bf16 process.
TEST_P(ModuleParity, Bf16EqualsOneProcess) {
  const Curve one = distributed_loop<TinyTransformer>({.dtype = at::kBFloat16});
  const Curve torch = testing::torch_loop<TinyTransformer>(kSamples, kSteps, kRate, kClip);
  EXPECT_NEAR(one.losses.front(), torch.losses.front(), 2e-2);
  EXPECT_NEAR(one.losses.back(), torch.losses.back(), 5e-2);
  Setting bf16 = setting();
  bf16.dtype = at::kBFloat16;
  expect_near(distributed_loop<TinyTransformer>(bf16), one, 5e-3);
}

INSTANTIATE_TEST_SUITE_P(Worlds, ModuleParity,
                         ::testing::Combine(::testing::Values(1, 2, 3, 4), ::testing::Values(1, 3),
                                            ::testing::Values(0, 1, 2)));

// Ranks, ZeRO stage, recompute: of a module whose parts are called through run_unit.
class UnitParity : public ::testing::TestWithParam<std::tuple<int, int, bool>> {};

TEST_P(UnitParity, EqualsTorchsLoop) {
  const auto [ranks, stage, recompute] = GetParam();
  for (const int micro_batches : {1, 2}) {
    expect_parity_with_torch<Stack>({.ranks = ranks,
                                     .micro_batches = micro_batches,
                                     .zero_stage = stage,
                                     .recompute = recompute});
  }
}

INSTANTIATE_TEST_SUITE_P(Worlds, UnitParity,
                         ::testing::Combine(::testing::Values(1, 2, 3), ::testing::Values(0, 2, 3),
                                            ::testing::Bool()));

// torch's autocast: parameters and gradients stay fp32, products run in bf16.
class Autocast {
 public:
  Autocast() {
    at::autocast::set_autocast_enabled(at::kCPU, true);
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
  }
  ~Autocast() {
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(at::kCPU, false);
  }
};

TEST(DataParallel, TorchsAutocastWorks) {
  const auto losses = [](const auto& backward_and_step) {
    std::vector<double> values;
    for (int64_t step = 0; step < 4; ++step) values.push_back(backward_and_step(step));
    return values;
  };
  const auto loss_of = [](TinyTransformer& model, int64_t step) {
    const Autocast autocast;
    EXPECT_EQ(model.up(at::ones({1, 8})).scalar_type(), at::kBFloat16);
    return loss_sum(model, images(kSamples, step), 0, kSamples) / static_cast<double>(kSamples);
  };
  const auto plain = make_model<TinyTransformer>();
  torch::optim::AdamW optimizer(testing::trained_parameters(*plain),
                                torch::optim::AdamWOptions(kRate));
  const std::vector<double> want = losses([&](int64_t step) {
    optimizer.zero_grad();
    const at::Tensor loss = loss_of(*plain, step);
    loss.backward();
    optimizer.step();
    return loss.item<double>();
  });
  comm::run_ranks(1, [&](comm::World& world) {
    const auto model = make_model<TinyTransformer>();
    DataParallel dp(*model, world.world_group());
    const std::vector<double> got = losses([&](int64_t step) {
      const at::Tensor loss = loss_of(*model, step);
      dp.backward(loss);
      dp.step(kRate);
      return loss.item<double>();
    });
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5) << i;
  });
}

TEST(DataParallel, RecomputeDrawsTorchsDropoutAgain) {
  const auto norm = [](bool recompute) {
    double value = 0;
    comm::run_ranks(1, [&](comm::World& world) {
      const auto model = make_model<Stack>();
      DataParallel dp(*model, world.world_group(),
                      {.recompute = recompute, .module = {.units = Stack::units()}});
      model->run_unit = [&dp](const std::string& name, const at::Tensor& x,
                              const Stack::Forward& f) {
        return dp.run_unit(
            name, x, [f](const at::Tensor& in) { return at::dropout(f(in), 0.5, /*train=*/true); });
      };
      at::manual_seed(11);
      dp.backward(loss_sum(*model, images(8, 0), 0, 8));
      value = dp.step(kRate).grad_norm;
    });
    return value;
  };
  EXPECT_NEAR(norm(true), norm(false), 1e-6 * norm(false));
}

TEST(DataParallel, Stage3WithoutUnitsShowsTheLineToChange) {
  comm::run_ranks(1, [](comm::World& world) {
    const auto model = make_model<ConvNet>();
    const std::string message = test::input_error_of(
        [&] { DataParallel dp(*model, world.world_group(), {.zero_stage = 3}); });
    EXPECT_THAT(message, HasSubstr("conv1.weight"));
    EXPECT_THAT(message, HasSubstr("x = dp.run_unit(\"conv1\", x, "));
  });
}

TEST(DataParallel, UnitsThatAreNotThereAreNamed) {
  comm::run_ranks(1, [](comm::World& world) {
    const auto model = make_model<ConvNet>();
    EXPECT_THAT(test::input_error_of([&] {
                  DataParallel dp(*model, world.world_group(), {.module = {.units = {"conv7"}}});
                }),
                HasSubstr("in unit conv7"));
    DataParallel dp(*model, world.world_group(), {.module = {.units = {"conv1"}}});
    EXPECT_THAT(test::input_error_of([&] {
                  dp.run_unit("conv2", at::ones({1}), [](const at::Tensor& x) { return x; });
                }),
                HasSubstr("'conv2' is not among"));
  });
}

TEST(DataParallel, AfterStage3AModuleHasNoValues) {
  comm::run_ranks(1, [](comm::World& world) {
    const auto model = make_model<Stack>();
    {
      DataParallel dp(*model, world.world_group(),
                      {.zero_stage = 3, .module = {.units = Stack::units()}});
      const WholeValues whole = dp.whole_values();
      EXPECT_EQ(model->head->weight.numel(), 4 * Stack::kWidth);
    }
    EXPECT_EQ(model->head->weight.numel(), 0);
  });
}

TEST(DataParallel, ParamsInUnitsTrainTheSameWay) {
  const auto run = [](int ranks) {
    double last = 0;
    comm::run_ranks(ranks, [&](comm::World& world) {
      testing::TinyModel model;
      DataParallel dp(model.units(), /*seed=*/7, world.world_group(), {});
      nn::Context context;
      context.hooks = &dp.engine();
      for (int64_t step = 0; step < 10; ++step) {
        const testing::TinyData data = testing::tiny_data(kSamples, step);
        const at::Tensor loss =
            testing::tiny_loss(model, context, data, kSamples * world.rank() / world.size(),
                               kSamples * (world.rank() + 1) / world.size(), kSamples);
        dp.backward(loss);
        dp.step(1e-2);
        const double total = dp.sum(loss.item<double>());
        if (world.rank() == 0) last = total;
      }
    });
    return last;
  };
  EXPECT_NEAR(run(3), run(1), 1e-5);
}

struct WithUnused : ConvNet {
  WithUnused() : spare(register_module("spare", torch::nn::Linear(3, 2))) {}
  torch::nn::Linear spare;
};

TEST(DataParallel, UnusedParametersAreNamed) {
  comm::run_ranks(1, [](comm::World& world) {
    const auto model = make_model<WithUnused>();
    DataParallel dp(*model, world.world_group());
    dp.backward(loss_sum(*model, images(4, 0), 0, 4));
    try {
      dp.step(kRate);
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("spare.weight, spare.bias"));
    }
  });
}

// One rank's micro-batch does not touch the spare layer, the other's does.
TEST(DataParallel, UnusedParametersMayCountAsZero) {
  std::vector<at::Tensor> weights(2);
  at::Tensor start;
  comm::run_ranks(2, [&](comm::World& world) {
    std::shared_ptr<WithUnused> model;
    {
      const std::lock_guard lock(making);
      model = make_model<WithUnused>();
      start = model->spare->weight.detach().clone();
    }
    DataParallel dp(*model, world.world_group(),
                    {.adamw = {.weight_decay = 0}, .unused = Unused::kZero});
    at::Tensor loss = loss_sum(*model, images(4, 0), 0, 4) / 8.0;
    if (world.rank() == 1) loss = loss + model->spare(at::ones({1, 3})).sum();
    dp.backward(loss);
    dp.step(kRate);
    weights[static_cast<size_t>(world.rank())] = model->spare->weight.detach().clone();
  });
  EXPECT_TRUE(at::equal(weights[0], weights[1]));
  // Adam's first step is the rate, against the gradient's sign.
  EXPECT_TRUE(at::allclose(weights[0], start - kRate, 1e-4, 1e-6));
}

TEST(DataParallel, AGradientThatIsNotFiniteIsNamedAndNothingIsUpdated) {
  comm::run_ranks(1, [](comm::World& world) {
    const auto model = make_model<ConvNet>();
    DataParallel dp(*model, world.world_group());
    const at::Tensor before = model->conv1->weight.detach().clone();
    dp.backward(model->fc->bias.sum() * INFINITY + loss_sum(*model, images(4, 0), 0, 4));
    try {
      dp.step(kRate);
      FAIL() << "no error";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("not finite in the gradient of fc.bias"));
    }
    EXPECT_TRUE(at::equal(model->conv1->weight, before));
    dp.backward(loss_sum(*model, images(4, 0), 0, 4));  // a fresh start
    EXPECT_GT(dp.step(kRate).grad_norm, 0);
  });
}

TEST(DataParallel, AFailedBackwardLeavesACleanStart) {
  comm::run_ranks(1, [](comm::World& world) {
    const auto model = make_model<ConvNet>();
    DataParallel dp(*model, world.world_group());
    const at::Tensor loss = loss_sum(*model, images(4, 0), 0, 4);
    dp.backward(loss);
    EXPECT_ANY_THROW(dp.backward(loss));  // the graph is used up
    dp.backward(loss_sum(*model, images(4, 0), 0, 4));
    const double norm = dp.step(kRate).grad_norm;
    const auto fresh = make_model<ConvNet>();
    loss_sum(*fresh, images(4, 0), 0, 4).backward();
    EXPECT_NEAR(norm, torch::nn::utils::clip_grad_norm_(fresh->parameters(), 1e9), 1e-5 * norm);
  });
}

// Notes how many sums were asked for before its parameter's gradient came.
struct CallsBefore final : torch::autograd::PostAccumulateGradHook {
  CallsBefore(const testing::RecordingGroup& group, std::vector<size_t>* calls)
      : group(group), calls(calls) {}
  void operator()(const at::Tensor&) override { calls->push_back(group.calls.size()); }
  const testing::RecordingGroup& group;
  std::vector<size_t>* calls;
};

// Of a module's parameters in an engine, which is what DataParallel has.
TEST(ModuleParams, SumsBeginWhileBackwardGoesOnAndOnlyInTheLastMicroBatch) {
  const auto model = make_model<ConvNet>();
  testing::RecordingGroup group;
  std::vector<size_t> calls;
  torch::autograd::impl::set_post_acc_grad_hooks(model->conv1->weight,
                                                 std::make_unique<CallsBefore>(group, &calls));
  ModuleParams params(*model, {.bucket_bytes = 200});
  Engine engine(params.units(), group, {});
  engine.init(1);
  params.attach(at::kFloat);
  engine.begin_step(2);
  loss_sum(*model, images(4, 0), 0, 4).backward();
  engine.end_micro_batch();
  EXPECT_THAT(group.calls, IsEmpty());
  loss_sum(*model, images(4, 1), 0, 4).backward();
  engine.end_micro_batch();
  engine.finish_step();
  // Of three buckets the first layer's alone had not begun when its gradient came.
  EXPECT_THAT(calls, ElementsAre(0U, 2U));
  EXPECT_THAT(group.calls, ElementsAre(StartsWith("grads/fc.weight..fc.bias:"),
                                       StartsWith("grads/norm.weight..conv2.bias:"),
                                       StartsWith("grads/conv1.weight..conv1.bias:")));
}

TEST(DataParallel, AStepNeedsABackward) {
  comm::run_ranks(1, [](comm::World& world) {
    const auto model = make_model<ConvNet>();
    DataParallel dp(*model, world.world_group());
    EXPECT_THAT(test::run_error_of([&] { dp.step(kRate); }), HasSubstr("without a backward()"));
  });
}

TEST(DataParallel, MicroBatchesThatWereAnnouncedMustCome) {
  comm::run_ranks(1, [](comm::World& world) {
    const auto model = make_model<ConvNet>();
    DataParallel dp(*model, world.world_group());
    dp.begin_step(2);
    dp.backward(loss_sum(*model, images(4, 0), 0, 4));
    EXPECT_THAT(test::run_error_of([&] { dp.step(kRate); }), HasSubstr("after 1 of 2"));
    dp.backward(loss_sum(*model, images(4, 0), 0, 4));  // a fresh start
    EXPECT_GT(dp.step(kRate).grad_norm, 0);
  });
}

}  // namespace
}  // namespace trireme::parallel
