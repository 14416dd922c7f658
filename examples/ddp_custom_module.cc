// A torch::nn::Module of your own on several ranks: a convolutional classifier of striped images.
//
//   trireme launch -n 2 -- ./ddp_custom_module [--zero 0|1|2] [--steps 150] [--batch 64]
#include <torch/nn/cloneable.h>
#include <torch/nn/functional/loss.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <cmath>

#include "example.h"
#include "trireme/comm/world.h"
#include "trireme/parallel/data_parallel.h"

namespace {

constexpr int64_t kSide = 20, kClasses = 8;

struct Net : torch::nn::Module {
  Net()
      : conv1(register_module("conv1", torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 16, 5)))),
        norm(register_module("norm", torch::nn::GroupNorm(4, 16))),
        conv2(register_module("conv2", torch::nn::Conv2d(torch::nn::Conv2dOptions(16, 32, 3)))),
        fc1(register_module("fc1", torch::nn::Linear(32 * 3 * 3, 128))),
        fc2(register_module("fc2", torch::nn::Linear(128, kClasses))) {}

  torch::Tensor forward(const torch::Tensor& images) {
    torch::Tensor x = torch::max_pool2d(torch::relu(norm(conv1(images))), 2);  // [N, 16, 8, 8]
    x = torch::max_pool2d(torch::relu(conv2(x)), 2);                           // [N, 32, 3, 3]
    return fc2(torch::relu(fc1(x.flatten(1))));
  }

  torch::nn::Conv2d conv1;
  torch::nn::GroupNorm norm;
  torch::nn::Conv2d conv2;
  torch::nn::Linear fc1, fc2;
};

struct Images {
  torch::Tensor x, y;
};

// Stripes in one of eight directions, at any phase and of any width, under noise.
Images make_images(int64_t count, int64_t seed) {
  torch::manual_seed(seed);
  const torch::Tensor y = torch::randint(kClasses, {count}, torch::kLong);
  const torch::Tensor angle = (y * (M_PI / kClasses)).view({count, 1, 1, 1});
  const torch::Tensor at = torch::arange(kSide, torch::kFloat);
  const torch::Tensor way =
      angle.cos() * at.view({1, 1, 1, kSide}) + angle.sin() * at.view({kSide, 1});
  const torch::Tensor width = 0.6 + 0.6 * torch::rand({count, 1, 1, 1});
  const torch::Tensor phase = 2 * M_PI * torch::rand({count, 1, 1, 1});
  return {(way * width + phase).sin() + torch::randn({count, 1, kSide, kSide}), y};
}

void run(const Arguments& arguments) {
  const int zero = arguments.get("--zero", 0);
  const int64_t steps = arguments.get("--steps", 150);
  const int64_t batch = arguments.get("--batch", 64);  // of all ranks together
  const auto world = trireme::comm::World::from_env();
  at::set_num_threads(world->threads());

  const Images train = make_images(4096, 1), test = make_images(1024, 2);
  auto model = std::make_shared<Net>();
  trireme::parallel::DataParallel dp(*model, world->world_group(),
                                     {.zero_stage = zero, .clip_norm = 1.0});

  for (int64_t step = 0; step < steps; ++step) {
    // This rank's samples of the global batch; a rank may have more than another.
    const int64_t begin = step * batch % 4096, end = std::min<int64_t>(begin + batch, 4096);
    const auto mine = torch::arange(begin + world->rank(), end, world->size(), torch::kLong);
    const torch::Tensor loss_sum = torch::nn::functional::cross_entropy(
        model->forward(train.x.index_select(0, mine)), train.y.index_select(0, mine),
        torch::nn::functional::CrossEntropyFuncOptions().reduction(torch::kSum));
    const torch::Tensor loss = loss_sum / static_cast<double>(end - begin);  // a share of the mean
    dp.backward(loss);
    dp.step(/*lr=*/2e-3);
    if (step % 25 != 0 && step + 1 != steps) continue;
    const double mean = dp.sum(loss.item<double>());
    if (world->rank() == 0) std::printf("step %ld: loss %.4f\n", step + 1, mean);
  }

  const torch::NoGradGuard no_grad;
  const auto mine = torch::arange(world->rank(), 1024, world->size(), torch::kLong);
  const torch::Tensor guess = model->forward(test.x.index_select(0, mine)).argmax(1);
  const double right = dp.sum(guess.eq(test.y.index_select(0, mine)).sum().item<double>());
  if (world->rank() == 0) std::printf("accuracy %.3f on 1024 unseen images\n", right / 1024);
}

}  // namespace

int main(int argc, char** argv) {
  return run_example(argc, argv, run);
}
