// The C++ of docs/distribute-your-own-module.md: it compiles, and does what the page says. That the
// page shows this code and no other is held by tests/cli/readme_test.py.
#include <gtest/gtest.h>

#include "tests/base/test_util.h"
#include "tests/parallel/torch_models.h"
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

}  // namespace
