#include "trireme/parallel/module_params.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>

#include "tests/base/test_util.h"
#include "tests/parallel/cut_model.h"
#include "tests/parallel/torch_models.h"
#include "trireme/comm/testing.h"

namespace trireme::parallel {
namespace {

using testing::ConvNet;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::images;
using testing::loss_sum;
using testing::make_model;
using testing::TinyTransformer;

std::vector<std::string> names_of(const nn::UnitParams& unit) {
  std::vector<std::string> names;
  for (const nn::Param* param : unit.params) names.push_back(param->spec.name);
  return names;
}

TEST(ModuleParams, BucketsKeepTheParametersOfAModuleTogether) {
  const auto model = make_model<ConvNet>();
  const ModuleParams params(*model, {.bucket_bytes = 200});
  ASSERT_EQ(params.units().size(), 3U);
  EXPECT_THAT(names_of(params.units()[0]), ElementsAre("conv1.weight", "conv1.bias"));
  EXPECT_THAT(names_of(params.units()[1]),
              ElementsAre("norm.weight", "norm.bias", "conv2.weight", "conv2.bias"));
  EXPECT_THAT(names_of(params.units()[2]), ElementsAre("fc.weight", "fc.bias"));
  EXPECT_EQ(params.units()[0].name, "conv1.weight..conv1.bias");
}

TEST(ModuleParams, ATiedTensorIsOneParamAndAFrozenOneIsNone) {
  const auto model = make_model<TinyTransformer>();
  const ModuleParams params(*model, {});
  const nn::Param* positions = nullptr;
  for (const nn::Param* param : params.units()[0].params) {
    EXPECT_NE(param->spec.name, "mix");
    EXPECT_NE(param->spec.name, "frozen");
    if (param->spec.name == "positions") positions = param;
  }
  ASSERT_NE(positions, nullptr);
  EXPECT_THAT(positions->spec.aliases, ElementsAre("mix"));
}

TEST(ModuleParams, SettingsByName) {
  const auto model = make_model<ConvNet>();
  const ModuleParams params(
      *model, {.configure = [](nn::ParamSpec& spec) { spec.decay = spec.shape.size() > 1; }});
  for (const nn::Param* param : params.units()[0].params) {
    EXPECT_EQ(param->spec.decay,
              param->spec.name.ends_with("weight") && param->spec.name != "norm.weight")
        << param->spec.name;
  }
}

TEST(ModuleParams, TensorsStayTheObjectsThatTheyAre) {
  comm::run_ranks(1, [](comm::World& world) {
    const auto model = make_model<ConvNet>();
    const at::Tensor before = model->fc->weight.detach().clone();
    const at::Tensor handle = model->fc->weight;
    ModuleParams params(*model, {});
    {
      Engine engine(params.units(), world.world_group(), {.compute_dtype = at::kBFloat16});
      params.bind(engine, at::kBFloat16);
      EXPECT_EQ(handle.scalar_type(), at::kBFloat16);
      EXPECT_TRUE(handle.is_alias_of(engine.flat_buffers()[0].value));
      // The master is what the module was, not its rounding.
      testing::WholeTensors masters;
      masters.add(engine, &optim::FlatBuffer::master);
      EXPECT_TRUE(at::equal(masters.tensors().at("fc.weight"), before));
    }
    EXPECT_TRUE(at::equal(handle, before.to(at::kBFloat16)));
  });
}

struct Counter final : torch::autograd::PostAccumulateGradHook {
  explicit Counter(int* calls) : calls(calls) {}
  void operator()(const at::Tensor& leaf) override {
    EXPECT_TRUE(leaf.grad().defined());
    ++*calls;
  }
  int* calls;
};

TEST(ModuleParams, AHookThatWasThereRunsAndIsPutBack) {
  comm::run_ranks(1, [](comm::World& world) {
    const auto model = make_model<ConvNet>();
    int calls = 0;
    torch::autograd::impl::set_post_acc_grad_hooks(model->fc->weight,
                                                   std::make_unique<Counter>(&calls));
    {
      ModuleParams params(*model, {});
      Engine engine(params.units(), world.world_group(), {});
      params.bind(engine, at::kFloat);
      engine.begin_step(1);
      loss_sum(*model, images(4, 0), 0, 4).backward();
      engine.end_micro_batch();
      engine.finish_step();
      EXPECT_EQ(calls, 1);
      EXPECT_FALSE(model->fc->weight.grad().defined());
    }
    loss_sum(*model, images(4, 0), 0, 4).backward();  // torch's again
    EXPECT_EQ(calls, 2);
    EXPECT_TRUE(model->fc->weight.grad().defined());
    EXPECT_TRUE(model->conv1->weight.grad().defined());
  });
}

struct WithNorm : torch::nn::Module {
  WithNorm()
      : norm(register_module("norm", torch::nn::BatchNorm1d(3))),
        fc(register_module("fc", torch::nn::Linear(3, 1))) {}
  torch::nn::BatchNorm1d norm;
  torch::nn::Linear fc;
};

TEST(ModuleParams, BuffersAreTheRanksOwnUntilTheyAreBroadcast) {
  std::vector<double> own(2), shared(2);
  comm::run_ranks(2, [&](comm::World& world) {
    const auto rank = static_cast<size_t>(world.rank());
    WithNorm model;
    ModuleParams params(model, {});
    Engine engine(params.units(), world.world_group(), {});
    params.bind(engine, at::kFloat);
    model.norm(at::full({2, 3}, static_cast<double>(rank)));
    own[rank] = model.norm->running_mean.sum().item<double>();
    params.broadcast_buffers(world.world_group(), 1);
    shared[rank] = model.norm->running_mean.sum().item<double>();
    EXPECT_EQ(model.norm->num_batches_tracked.item<int64_t>(), 1);
  });
  EXPECT_NE(own[0], own[1]);
  EXPECT_EQ(shared[0], own[1]);
  EXPECT_EQ(shared[1], own[1]);
}

TEST(ModuleParams, InBf16BuffersAreToo) {
  comm::run_ranks(1, [](comm::World& world) {
    WithNorm model;
    ModuleParams params(model, {});
    Engine engine(params.units(), world.world_group(), {.compute_dtype = at::kBFloat16});
    params.bind(engine, at::kBFloat16);
    EXPECT_EQ(model.norm->running_mean.scalar_type(), at::kBFloat16);
    EXPECT_EQ(model.norm->num_batches_tracked.scalar_type(), at::kLong);
    const at::Tensor y = model.fc(model.norm(at::randn({4, 3}).to(at::kBFloat16)));
    EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  });
}

// Of an embedding table whose gradients are sparse tensors.
TEST(ModuleParams, SparseGradientsCount) {
  comm::run_ranks(1, [](comm::World& world) {
    torch::nn::Embedding table(torch::nn::EmbeddingOptions(5, 2).sparse(true));
    ModuleParams params(*table, {});
    Engine engine(params.units(), world.world_group(), {});
    params.bind(engine, at::kFloat);
    engine.begin_step(1);
    table(at::tensor({1, 3, 3}, at::kLong)).sum().backward();
    engine.end_micro_batch();
    engine.finish_step();
    EXPECT_TRUE(at::equal(params.units()[0].params[0]->main_grad.sum(1),
                          at::tensor({0, 2, 0, 4, 0}, at::kFloat)));
  });
}

TEST(ModuleParams, WhatCannotBeHeldIsSaid) {
  const auto model = make_model<ConvNet>();
  {
    const ModuleParams params(*model, {});
    EXPECT_THAT(test::input_error_of([&] { ModuleParams again(*model, {}); }),
                HasSubstr("conv1.weight is held by another engine already"));
  }
  model->conv1->weight.set_data(model->conv1->weight.to(at::kDouble));
  EXPECT_THAT(test::input_error_of([&] { ModuleParams params(*model, {}); }),
              HasSubstr("conv1.weight is Double"));
  const auto shares = make_model<ConvNet>();
  shares->conv2->bias.set_data(shares->norm->weight.data());
  EXPECT_THAT(test::input_error_of([&] { ModuleParams params(*shares, {}); }),
              HasSubstr("norm.weight and conv2.bias share memory"));
  const auto frozen = make_model<ConvNet>();
  for (const at::Tensor& p : frozen->parameters()) p.set_requires_grad(false);
  EXPECT_THAT(test::input_error_of([&] { ModuleParams params(*frozen, {}); }),
              HasSubstr("no parameter"));
}

}  // namespace
}  // namespace trireme::parallel
