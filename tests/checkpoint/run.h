// A run of the tiny model with everything that a checkpoint holds, in a folder of its own.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "tests/parallel/tiny_model.h"
#include "trireme/base/files.h"
#include "trireme/checkpoint/checkpoint.h"
#include "trireme/comm/world.h"

namespace trireme::testing {

class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "trireme-test-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Steps taken with made-up gradients, so that masters and moments differ everywhere.
class TinyRun {
 public:
  explicit TinyRun(uint64_t seed) : TinyRun(seed, at::kBFloat16) {}
  TinyRun(uint64_t seed, at::ScalarType dtype)
      : world_(comm::World::single()),
        engine_(model_.units(), world_->world_group(), {.compute_dtype = dtype}),
        adamw_(engine_.flat_buffers(), {}) {
    engine_.init(seed);
  }

  // The step after `done`, for a run that was loaded.
  void step_after(int64_t done) {
    steps_ = done;
    step();
  }

  void step() {
    ++steps_;
    for (const parallel::Region& region : engine_.regions()) {
      const at::Tensor grad = region.view(engine_.flat_buffers()[region.bucket].grad);
      grad.copy_(at::sin(at::arange(grad.numel(), at::kFloat) * steps_ + 1).view(grad.sizes()));
    }
    adamw_.step({.lr = 0.01});
  }

  checkpoint::RunState state() const {
    checkpoint::RunState state;
    state.step = steps_;
    state.optimizer_steps = adamw_.steps();
    state.seed = 0xFEDCBA9876543210;
    state.cursor = {1, 5, 25};
    state.identity = {{"samples", 20}};
    state.config = {{"train", {{"steps", 100}}}};
    state.trainer = {{"best", 0.1}};
    for (int64_t i = 0; i < steps_; ++i)
      state.losses.push_back(1.0 / (3.0 + static_cast<double>(i)));
    return state;
  }

  std::string save(const std::string& dir, Json metrics = Json::object()) {
    checkpoint::RunState run = state();
    run.metrics = std::move(metrics);
    return checkpoint::save(dir, run, tensors(), [](const std::string& folder) {
      write_file_atomic(folder + "/config.json", "{\"model_type\": \"tiny\"}\n");
    });
  }

  checkpoint::RunTensors tensors() { return {engine_, adamw_}; }
  parallel::Engine& engine() { return engine_; }
  optim::AdamW& adamw() { return adamw_; }

 private:
  TinyModel model_;
  std::unique_ptr<comm::World> world_;
  parallel::Engine engine_;
  optim::AdamW adamw_;
  int64_t steps_ = 0;
};

inline void expect_same_bits(TinyRun& a, TinyRun& b) {
  for (size_t i = 0; i < a.engine().flat_buffers().size(); ++i) {
    const auto& x = a.engine().flat_buffers()[i];
    const auto& y = b.engine().flat_buffers()[i];
    EXPECT_TRUE(at::equal(x.master, y.master)) << x.name;
    EXPECT_TRUE(at::equal(x.value, y.value)) << x.name;
    EXPECT_TRUE(at::equal(a.adamw().moments()[i].exp_avg, b.adamw().moments()[i].exp_avg));
    EXPECT_TRUE(at::equal(a.adamw().moments()[i].exp_avg_sq, b.adamw().moments()[i].exp_avg_sq));
  }
  EXPECT_EQ(a.adamw().steps(), b.adamw().steps());
}

}  // namespace trireme::testing
