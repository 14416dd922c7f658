// What a loop of one's own costs: the same torch::nn::Module trained by train::train() and by
// parallel::DataParallel, in turn in one run. Prints samples/s of both and their ratio.
//
//   trireme launch -n 2 -- loop_vs_trainer [--steps 100] [--batch 256] [--rounds 5]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/nn/cloneable.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/linear.h>

#include <algorithm>
#include <chrono>
#include <numeric>

#include "examples/example.h"
#include "trireme/comm/world.h"
#include "trireme/parallel/data_parallel.h"
#include "trireme/train/trainer.h"

namespace {

using namespace trireme;
constexpr int64_t kSide = 20, kClasses = 8, kImages = 4096;
constexpr double kRate = 2e-3;

struct Net : torch::nn::Module {
  Net()
      : conv1(register_module("conv1", torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 16, 5)))),
        conv2(register_module("conv2", torch::nn::Conv2d(torch::nn::Conv2dOptions(16, 32, 3)))),
        fc1(register_module("fc1", torch::nn::Linear(32 * 3 * 3, 1024))),
        fc2(register_module("fc2", torch::nn::Linear(1024, kClasses))) {}
  at::Tensor forward(const at::Tensor& images) {
    const at::Tensor x = at::max_pool2d(at::relu(conv1(images)), 2);
    return fc2(at::relu(fc1(at::max_pool2d(at::relu(conv2(x)), 2).flatten(1))));
  }
  torch::nn::Conv2d conv1, conv2;
  torch::nn::Linear fc1, fc2;
};

struct Images {
  at::Tensor x = at::randn({kImages, 1, kSide, kSide});
  at::Tensor y = at::randint(kClasses, {kImages}, at::kLong);

  at::Tensor loss(Net& net, const at::Tensor& which, int64_t count) const {
    const at::Tensor out = net.forward(x.index_select(0, which));
    return at::cross_entropy_loss(out, y.index_select(0, which), {}, at::Reduction::Sum) /
           static_cast<double>(count);
  }
};

// The module as the trainer's task. A sample is one "token": the number of its image.
class ImageTask final : public tasks::Task {
 public:
  explicit ImageTask(const Images& images) : images_(images) {}
  int64_t train_size() const override { return kImages; }
  int64_t train_length(int64_t) const override { return 1; }
  Json identity() const override { return {{"data", "images"}, {"model", "net"}}; }
  data::PackedBatch make_batch(std::span<const tasks::SampleRef> samples,
                               tasks::StepKey) const override {
    std::vector<int32_t> ids;
    for (const tasks::SampleRef& sample : samples)
      ids.push_back(static_cast<int32_t>(sample.index));
    std::vector<data::PackSample> pack;
    for (const int32_t& id : ids) pack.push_back({.ids = {&id, 1}});
    return data::pack(pack, {.token_types = false});
  }
  std::vector<int64_t> loss_counts(std::span<const tasks::SampleRef> global_batch,
                                   tasks::StepKey) const override {
    return {static_cast<int64_t>(global_batch.size())};
  }
  at::Tensor loss(const data::PackedBatch& batch, nn::Context&,
                  std::span<const int64_t> counts) override {
    if (!attached_) params_.attach(at::kFloat);
    attached_ = true;
    return images_.loss(net_, batch.tokens.narrow(0, 0, batch.real_tokens()), counts[0]);
  }
  Json evaluate(comm::World&, tasks::Evaluator&) override { return Json::object(); }
  std::string metric() const override { return "none"; }
  bool metric_higher_is_better() const override { return true; }
  std::vector<nn::UnitParams> units() override { return params_.units(); }
  void write_assets(const std::string&) const override {}
  const parallel::ModuleParams& params() const { return params_; }

 private:
  const Images& images_;
  Net net_;
  parallel::ModuleParams params_{net_, {}};
  bool attached_ = false;
};

struct Settings {
  int64_t steps, batch;
};

// Median seconds between calls, the first ones left out.
class StepTimes {
 public:
  void tick() { times_.push_back(std::chrono::steady_clock::now()); }
  double median_s() const {
    constexpr size_t kWarm = 10;
    std::vector<double> gaps;
    for (size_t i = kWarm + 1; i < times_.size(); ++i) {
      gaps.push_back(std::chrono::duration<double>(times_[i] - times_[i - 1]).count());
    }
    std::nth_element(gaps.begin(), gaps.begin() + gaps.size() / 2, gaps.end());
    return gaps[gaps.size() / 2];
  }

 private:
  std::vector<std::chrono::steady_clock::time_point> times_;
};

double trainer_step_s(comm::World& world, const Images& images, const Settings& settings) {
  ImageTask task(images);
  train::RunConfig config;
  config.train.steps = settings.steps;
  config.data.global_batch_samples = settings.batch;
  config.data.micro_batch_tokens = settings.batch;
  config.optim.lr = kRate;
  config.optim.schedule = optim::ScheduleKind::kConstant;
  StepTimes times;
  train::TrainOptions options;
  options.open_weights = [&]() -> parallel::TensorReader {
    return [&task](const std::string& name, const at::Tensor& whole) {
      task.params().read(name, whole);
    };
  };
  options.on_step = [&](const train::StepInfo&) { times.tick(); };
  train::train(config, Json::object(), world, task, options);
  return times.median_s();
}

double loop_step_s(comm::World& world, const Images& images, const Settings& settings) {
  Net net;
  parallel::DataParallel dp(net, world.world_group(), {.clip_norm = 1.0});
  StepTimes times;
  for (int64_t step = 0; step < settings.steps; ++step) {
    const int64_t begin = step * settings.batch % (kImages - settings.batch + 1);
    const at::Tensor mine =
        at::arange(begin + world.rank(), begin + settings.batch, world.size(), at::kLong);
    const at::Tensor loss = images.loss(net, mine, settings.batch);
    dp.backward(loss);
    dp.step(kRate);
    dp.sum(loss.item<double>());  // the trainer has each step's loss too
    times.tick();
  }
  return times.median_s();
}

void run(const Arguments& arguments) {
  const Settings settings{arguments.get("--steps", 100), arguments.get("--batch", 256)};
  const int rounds = arguments.get("--rounds", 5);
  if (settings.steps < 20) throw input_error("--steps must be at least 20");
  const auto world = comm::World::from_env();
  at::set_num_threads(world->threads());
  const Images images;
  const auto rate = [&](double step_s) { return static_cast<double>(settings.batch) / step_s; };
  std::vector<double> ratios;
  for (int round = 0; round < rounds; ++round) {
    const double trainer = rate(trainer_step_s(*world, images, settings));
    const double loop = rate(loop_step_s(*world, images, settings));
    ratios.push_back(loop / trainer);
    if (world->rank() == 0)
      std::printf("trainer %.0f samples/s, own loop %.0f samples/s, ratio %.3f\n", trainer, loop,
                  ratios.back());
  }
  std::nth_element(ratios.begin(), ratios.begin() + ratios.size() / 2, ratios.end());
  if (world->rank() == 0) std::printf("median ratio %.3f\n", ratios[ratios.size() / 2]);
}

}  // namespace

int main(int argc, char** argv) {
  return run_example(argc, argv, run);
}
