#include "trireme/models/module_weights.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/linear.h>

#include "tests/base/test_util.h"
#include "trireme/base/error.h"
#include "trireme/io/safetensors.h"

namespace trireme::models {
namespace {

using ::testing::HasSubstr;

struct Net : torch::nn::Module {
  explicit Net(int64_t out = 2)
      : norm(register_module("norm", torch::nn::BatchNorm1d(3))),
        fc(register_module("fc", torch::nn::Linear(3, out))),
        tied(register_parameter("tied", fc->weight)) {}
  torch::nn::BatchNorm1d norm;
  torch::nn::Linear fc;
  at::Tensor tied;
};

TEST(ModuleWeights, WhatIsSavedIsLoaded) {
  const test::TempDir dir;
  const std::string path = dir / "model.safetensors";
  Net model, other;
  model.norm(at::arange(6, at::kFloat).view({2, 3}));  // statistics
  model.fc->bias.set_data(model.fc->bias.to(at::kBFloat16));
  save_module(model, path);
  const io::SafetensorsFile file(path);
  EXPECT_NE(file.find("tied"), nullptr);  // once, by its first name: the module's own come first
  EXPECT_EQ(file.find("fc.weight"), nullptr);
  EXPECT_EQ(file.find("fc.bias")->dtype, io::Dtype::kBF16);
  EXPECT_EQ(file.find("norm.num_batches_tracked")->dtype, io::Dtype::kI64);
  load_module(other, path);
  EXPECT_TRUE(at::equal(other.tied, model.fc->weight));
  EXPECT_TRUE(at::equal(other.fc->bias, model.fc->bias.to(at::kFloat)));
  EXPECT_TRUE(at::equal(other.norm->running_var, model.norm->running_var));
  EXPECT_EQ(other.norm->num_batches_tracked.item<int64_t>(), 1);
}

TEST(ModuleWeights, WhatDoesNotFitIsNamed) {
  const test::TempDir dir;
  const std::string path = dir / "model.safetensors";
  save_module(Net(), path);
  Net wide(4);
  EXPECT_THAT(test::input_error_of([&] { load_module(wide, path); }),
              HasSubstr("tensor 'tied' has shape [2, 3], the module's is [4, 3]"));
  torch::nn::Linear small(3, 2);
  EXPECT_THAT(test::input_error_of([&] { load_module(*small, path); }),
              HasSubstr("no tensor 'weight'"));
  const std::string part = dir / "part.safetensors";
  torch::nn::BatchNorm1d norm(3);
  save_module(*norm, part);
  torch::nn::BatchNorm1d plain(torch::nn::BatchNorm1dOptions(3).track_running_stats(false));
  EXPECT_THAT(test::input_error_of([&] { load_module(*plain, part); }),
              HasSubstr("which the module does not have"));
}

}  // namespace
}  // namespace trireme::models
