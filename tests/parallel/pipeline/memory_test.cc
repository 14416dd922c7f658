// What a rank of a pipeline holds, by the allocator's count, against the simulator: the rank does
// its part of the schedule alone, and what comes from the others is zeros.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <stdexcept>

#include "tests/parallel/pipeline/small_pipeline.h"
#include "trireme/device/caching_allocator.h"
#include "trireme/nn/tape.h"
#include "trireme/parallel/pipeline/simulate.h"

namespace trireme::parallel::pipeline {
namespace {

using testing::PipedRank;

class LonelyGroup final : public comm::Group {
 public:
  LonelyGroup(int rank, int size) : rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  comm::WorkPtr send(at::Tensor, int, std::string_view) override { return comm::finished_work(); }
  comm::WorkPtr recv(at::Tensor buffer, int, std::string_view) override {
    buffer.zero_();
    return comm::finished_work();
  }
  comm::WorkPtr all_reduce(at::Tensor, comm::ReduceOp, std::string_view) override { none(); }
  comm::WorkPtr broadcast(at::Tensor, int, std::string_view) override { none(); }
  comm::WorkPtr all_gather(at::Tensor, at::Tensor, std::string_view) override { none(); }
  comm::WorkPtr reduce_scatter(at::Tensor, at::Tensor, comm::ReduceOp, std::string_view) override {
    none();
  }
  comm::WorkPtr all_to_all(at::Tensor, at::Tensor, std::string_view) override { none(); }
  void barrier(std::string_view) override { none(); }

 private:
  [[noreturn]] static void none() { throw std::logic_error("a pipeline sends and receives alone"); }
  int rank_, size_;
};

const device::MemoryCount& activations(const device::MemoryStats& stats) {
  return stats.of(device::MemoryCategory::kActivations);
}
double held() {
  return static_cast<double>(activations(device::caching_allocator()->stats()).bytes);
}
double peak() {
  return static_cast<double>(activations(device::caching_allocator()->stats()).peak_bytes);
}

models::Gpt2Config config() {
  models::Gpt2Config c = testing::piped_config();
  c.n_layer = 14;  // 16 units: two for each of 8 chunks
  c.n_embd = 96;
  c.n_head = 4;
  c.n_inner = 384;
  return c;
}

constexpr int kStages = 4, kMicroBatches = 8;

// One micro-batch through a chunk by hand.
ChunkCost measure_chunk(PipedRank& rank, const ChunkPart& part, const MicroBatch& micro,
                        bool split) {
  part.engine->begin_step(1);
  const double base = held();
  ChunkCost cost;
  at::Tensor x = part.chunk == 0 ? nn::graph_root()
                                 : at::zeros({micro.rows, config().n_embd}).requires_grad_();
  nn::Context context = micro.context;
  context.hooks = part.engine;
  at::Tensor y = rank.chain().run(part.begin, part.end, x, context);
  cost.activation = held() - base;
  device::caching_allocator()->reset_peaks();
  nn::WeightQueue queue;
  const auto params = nn::params_once(rank.chain().units(part.begin, part.end));
  for (nn::Param* param : params) param->weight_queue = split ? &queue : nullptr;
  at::Tensor dy = y.dim() == 0 ? at::Tensor() : at::zeros_like(y);
  torch::autograd::backward({std::exchange(y, {})}, {std::exchange(dy, {})});
  for (nn::Param* param : params) param->weight_queue = nullptr;
  cost.working = peak() - base - cost.activation;
  x = at::Tensor();
  cost.kept_for_weight = held() - base;
  device::caching_allocator()->reset_peaks();
  queue.run();
  cost.working = std::max(cost.working, peak() - base - cost.kept_for_weight);
  part.engine->end_micro_batch();
  part.engine->finish_step();
  return cost;
}

TEST(PipelineMemory, ARankHoldsWhatTheSimulatorSays) {
  device::install_caching_allocator();
  const data::PackedBatch batch = testing::piped_batch(2, 4);
  ASSERT_EQ(batch.rows(), 128);
  const MicroBatch micro = testing::piped_micro_batch(batch, {});
  const std::vector<MicroBatch> micro_batches(kMicroBatches, micro);
  for (const std::string& name : schedule_names()) {
    const Schedule schedule = make_schedule(name, {kStages, kMicroBatches, 2});
    for (int r = 0; r < kStages; ++r) {
      LonelyGroup group(r, kStages);
      PipedRank rank(group, schedule.rank_of_chunk, {}, config());
      Costs costs;
      costs.chunks.resize(static_cast<size_t>(schedule.chunks()));
      for (const ChunkPart& part : rank.parts()) {
        costs.chunks[static_cast<size_t>(part.chunk)] =
            measure_chunk(rank, part, micro, schedule.splits_backward());
      }
      const double want = simulate(schedule, costs).peak_activation[static_cast<size_t>(r)];
      const double base = held();
      device::caching_allocator()->reset_peaks();
      rank.step(schedule, micro_batches);
      const double got = peak() - base;
      EXPECT_NEAR(got / want, 1, 0.05) << name << " rank " << r << ": " << got << " bytes";
      EXPECT_EQ(held(), base) << name << " rank " << r;
    }
  }
}

}  // namespace
}  // namespace trireme::parallel::pipeline
