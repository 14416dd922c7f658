// A small GPT-2 and micro-batches of unequal size for it, over a pipeline's ranks and as one
// process.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "tests/parallel/small_models.h"
#include "trireme/parallel/pipeline/executor.h"
#include "trireme/parallel/pipeline/generators.h"
#include "trireme/parallel/pipeline/stage_cut.h"

namespace trireme::testing {

// Embeddings, 6 blocks and a head of its own: 8 units, with dropout.
inline models::Gpt2Config piped_config() {
  models::Gpt2Config c = SmallGpt2::config();
  c.n_layer = 6;
  c.tie_word_embeddings = false;
  return c;
}

struct PipedOptions {
  at::ScalarType dtype = at::kFloat;
  bool recompute = false;
  int zero_stage = 0;
};

// Micro-batch m of M: 3 to 9 samples, so 64 to 192 rows; the last one of several is empty.
inline data::PackedBatch piped_batch(int m, int M) {
  std::vector<int64_t> ordinals;
  const int samples = M > 1 && m == M - 1 ? 0 : 3 + 3 * (m % 3);
  for (int i = 0; i < samples; ++i) ordinals.push_back(m * 9 + i);
  return pack_samples(ordinals, /*token_types=*/false);
}

inline parallel::pipeline::MicroBatch piped_micro_batch(const data::PackedBatch& batch,
                                                        const PipedOptions& options) {
  parallel::pipeline::MicroBatch micro;
  nn::Context& context = micro.context;
  context.tokens = batch.tokens;
  context.positions = batch.positions;
  context.seq = &batch.seq;
  context.dropout = batch.dropout_key(7, 3);
  context.training = true;
  context.recompute = options.recompute;
  std::vector<std::vector<int64_t>> next;
  for (const int32_t ordinal : batch.sample) {
    const std::vector<int32_t> ids = sample_ids(ordinal);
    next.emplace_back(ids.begin() + 1, ids.end()).push_back(-100);
  }
  context.labels = data::pack_rows(batch, next, -100);
  context.label_count = 100;
  micro.rows = batch.rows();
  micro.loss = [](const at::Tensor& output, const nn::Context&) { return output; };
  return micro;
}

struct PipedResult {
  std::vector<double> losses;
  double loss = 0;
  std::map<std::string, at::Tensor> gradients;

  void add_gradients(const parallel::Engine& engine) {
    for (const parallel::Region& region : engine.regions()) {
      gradients[region.name] = region.view(engine.flat_buffers()[region.bucket].grad).clone();
    }
  }
};

// This rank's part of one step; a rank holds a whole model, whose other chunks stay without values.
class PipedRank {
 public:
  PipedRank(comm::Group& group, const std::vector<int>& rank_of_chunk, const PipedOptions& options,
            const models::Gpt2Config& config = piped_config())
      : options_(options), model_(config), alone_(comm::World::single()) {
    at::set_num_threads(1);  // ranks are threads here: together they would be more than cores
    const std::vector<double> costs(model_.chain().size(), 1.0);
    const auto begins =
        parallel::pipeline::cut_units(costs, static_cast<int>(rank_of_chunk.size()));
    for (size_t chunk = 0; chunk < rank_of_chunk.size(); ++chunk) {
      if (rank_of_chunk[chunk] != group.rank()) continue;
      engines_.push_back(std::make_unique<parallel::Engine>(
          model_.chain().units(begins[chunk], begins[chunk + 1]), alone_->world_group(),
          parallel::EngineOptions{.compute_dtype = options.dtype,
                                  .zero_stage = options.zero_stage}));
      engines_.back()->init(7);
      parts_.push_back({.chunk = static_cast<int>(chunk),
                        .begin = begins[chunk],
                        .end = begins[chunk + 1],
                        .engine = engines_.back().get()});
    }
    executor_ = std::make_unique<parallel::pipeline::Executor>(
        model_.chain(), parts_, group,
        parallel::pipeline::ExecutorOptions{.width = config.n_embd, .dtype = options.dtype});
  }

  parallel::pipeline::StepLosses step(
      const parallel::pipeline::Schedule& schedule,
      const std::vector<parallel::pipeline::MicroBatch>& micro_batches) {
    const auto losses = executor_->run_step(schedule, micro_batches);
    for (const auto& engine : engines_) engine->finish_step();
    return losses;
  }

  parallel::pipeline::Executor& executor() { return *executor_; }
  const std::vector<std::unique_ptr<parallel::Engine>>& engines() const { return engines_; }
  const std::vector<parallel::pipeline::ChunkPart>& parts() const { return parts_; }
  const nn::Chain& chain() const { return model_.chain(); }

 private:
  PipedOptions options_;
  models::Gpt2LmHeadModel model_;
  std::unique_ptr<comm::World> alone_;
  std::vector<std::unique_ptr<parallel::Engine>> engines_;
  std::vector<parallel::pipeline::ChunkPart> parts_;
  std::unique_ptr<parallel::pipeline::Executor> executor_;
};

struct PipedBatches {
  PipedBatches(int M, const PipedOptions& options) {
    for (int m = 0; m < M; ++m) packed.push_back(piped_batch(m, M));
    for (const data::PackedBatch& batch : packed) {
      micro_batches.push_back(piped_micro_batch(batch, options));
    }
  }
  std::vector<data::PackedBatch> packed;
  std::vector<parallel::pipeline::MicroBatch> micro_batches;
};

// The same without a pipeline: the loop that everybody writes.
inline PipedResult unpiped(int M, const PipedOptions& options) {
  at::set_num_threads(1);
  models::Gpt2LmHeadModel model(piped_config());
  const auto world = comm::World::single();
  parallel::Engine engine(model.units(), world->world_group(),
                          {.compute_dtype = options.dtype, .zero_stage = options.zero_stage});
  engine.init(7);
  PipedResult result;
  const PipedBatches batches(M, options);
  engine.begin_step(M);
  for (const auto& micro : batches.micro_batches) {
    nn::Context context = micro.context;
    context.hooks = &engine;
    const at::Tensor loss = model.forward(context);
    result.losses.push_back(loss.item<double>());
    result.loss += result.losses.back();
    loss.backward();
    engine.end_micro_batch();
  }
  engine.finish_step();
  result.add_gradients(engine);
  return result;
}

}  // namespace trireme::testing
