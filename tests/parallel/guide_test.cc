// The C++ of docs/distribute-your-own-module.md: it compiles, and does what the page says. That the
// page shows this code and no other is held by tests/cli/readme_test.py.
#include <gtest/gtest.h>

#include <filesystem>
#include <mutex>

#include "tests/base/test_util.h"
#include "tests/parallel/torch_models.h"
#include "trireme/checkpoint/checkpoint.h"
#include "trireme/comm/testing.h"
#include "trireme/models/module_weights.h"
#include "trireme/parallel/data_parallel.h"

namespace {

using Batch = trireme::testing::Images;

TEST(Guide, ParametersHaveTheSettingsOfTheirNames) {
  trireme::parallel::DataParallelOptions options;
  options.module.configure = [](trireme::nn::ParamSpec& spec) {
    spec.decay = spec.shape.size() > 1;  // neither biases nor norms
    if (spec.name.starts_with("backbone.")) spec.lr_scale = 0.1;
  };
  trireme::nn::ParamSpec spec = trireme::nn::matrix_spec("backbone.weight", 2, 2, 0.1);
  options.module.configure(spec);
  EXPECT_TRUE(spec.decay);
  EXPECT_EQ(spec.lr_scale, 0.1);
}

TEST(Guide, CountsAccumulationAndFiles) {
  const trireme::test::TempDir folder;
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(folder.path());
  trireme::comm::run_ranks(1, [](trireme::comm::World& one) {
    trireme::comm::World* world = &one;
    const auto model = trireme::testing::make_model<trireme::testing::ConvNet>();
    trireme::parallel::DataParallel dp(*model, world->world_group());
    const Batch batch = trireme::testing::images(8, 0);
    const auto loss_sum_of = [&](const Batch& b) {
      return trireme::testing::loss_sum(*model, b, 0, b.y.numel());
    };
    const at::Tensor loss_sum = loss_sum_of(batch);
    const double count = dp.sum(static_cast<double>(batch.y.numel()));
    const at::Tensor loss = loss_sum / count;
    EXPECT_EQ(count, 8);
    dp.backward(loss);
    EXPECT_GT(dp.step(1e-3).grad_norm, 0);

    const std::vector<Batch> micro_batches(4, batch);
    dp.begin_step(4);
    for (const Batch& micro_batch : micro_batches) dp.backward(loss_sum_of(micro_batch) / count);
    dp.step(1e-3);
    EXPECT_EQ(dp.adamw().steps(), 2);

    const at::Tensor weight = model->fc->weight.detach().clone();
    if (world->rank() == 0) trireme::models::save_module(*model, "model.safetensors");
    const auto other = trireme::testing::make_model<trireme::testing::ConvNet>(99);
    {
      const auto& model = other;
      trireme::models::load_module(*model, "model.safetensors");
    }
    EXPECT_TRUE(at::equal(other->fc->weight, weight));
  });
  std::filesystem::current_path(before);
}

// Saved by 2 ranks at stage 1, loaded by 3 at stage 2: the steps after are the same.
TEST(Guide, StopAndGoOn) {
  const trireme::test::TempDir dir;
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(dir.path());
  std::mutex making;
  const auto make = [&](uint64_t seed) {
    const std::lock_guard lock(making);
    return trireme::testing::make_model<trireme::testing::ConvNet>(seed);
  };
  const int64_t step = 3;
  const auto train = [](auto& model, trireme::parallel::DataParallel& dp, int64_t i, int ranks) {
    dp.backward(trireme::testing::loss_sum(*model, trireme::testing::images(8, i), 0, 8) / ranks);
    return dp.step(1e-2).grad_norm;
  };
  std::vector<double> norms(2);
  trireme::comm::run_ranks(2, [&](trireme::comm::World& one) {
    trireme::comm::World* world = &one;
    const auto model = make(1);
    trireme::parallel::DataParallel dp(*model, world->world_group(), {.zero_stage = 1});
    for (int64_t i = 0; i < step; ++i) train(model, dp, i, 2);
    const trireme::checkpoint::RunTensors tensors{dp.engine(), dp.adamw()};
    trireme::checkpoint::RunState run;
    run.step = step;
    run.optimizer_steps = dp.adamw().steps();
    if (world->rank() == 0) trireme::checkpoint::save("checkpoints", run, tensors, {});
    if (world->rank() != 0) trireme::checkpoint::contribute(tensors);
    for (size_t i = 0; i < 2; ++i) {
      const double norm = train(model, dp, step + static_cast<int64_t>(i), 2);
      if (world->rank() == 0) norms[i] = norm;
    }
  });
  trireme::comm::run_ranks(3, [&](trireme::comm::World& world) {
    const auto model = make(99);
    trireme::parallel::DataParallel dp(*model, world.world_group(), {.zero_stage = 2});
    const trireme::checkpoint::RunTensors tensors{dp.engine(), dp.adamw()};
    const std::string folder = "checkpoints/" + trireme::checkpoint::step_folder_name(step);
    trireme::checkpoint::load(folder, trireme::checkpoint::open_verified(folder), tensors);
    EXPECT_EQ(dp.adamw().steps(), step);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_NEAR(train(model, dp, step + static_cast<int64_t>(i), 3), norms[i], 1e-4 * norms[i]);
    }
  });
  std::filesystem::current_path(before);
}

TEST(Guide, UnitsAtStage3) {
  const auto model = trireme::testing::make_model<trireme::testing::Stack>();
  const at::NoGradGuard no_grad;
  const at::Tensor images = trireme::testing::images(4, 0).x;
  const at::Tensor want = model->block0->forward(model->embed(images.flatten(1)));
  trireme::comm::run_ranks(1, [&](trireme::comm::World& world) {
    trireme::parallel::DataParallelOptions options{.zero_stage = 3};
    options.module.units = {"embed", "block0", "block1", "head"};
    trireme::parallel::DataParallel dp(*model, world.world_group(), options);
    const auto& block0 = model->block0;
    at::Tensor x = dp.run_unit("embed", images.flatten(1),
                               [&](const at::Tensor& in) { return model->embed(in); });
    x = dp.run_unit("block0", x, [&](const at::Tensor& in) { return block0->forward(in); });
    EXPECT_TRUE(at::equal(x, want));
  });
}

}  // namespace
