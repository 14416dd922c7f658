// One long document, or a batch of several, trained on by context-parallel ranks: the time of a
// step of a GPT-2 (forward, backward, sums of gradients) and the memory of a rank. Run alone it is
// one process with all cores.
//
//   [trireme launch -n 2 --] long_document [--tokens 16384] [--documents 1] [--layers 4]
//       [--hidden 512] [--heads 8] [--steps 3] [--bf16 1] [--ulysses 1] [--recompute 1]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>

#include "examples/example.h"
#include "trireme/comm/world.h"
#include "trireme/models/gpt2.h"
#include "trireme/nn/context_parallel.h"
#include "trireme/parallel/engine.h"
#include "trireme/train/meters.h"

namespace {

using namespace trireme;

constexpr int64_t kVocabulary = 8192;
constexpr double kMiB = 1 << 20;

models::Gpt2Config config_of(const Arguments& arguments, int64_t tokens) {
  models::Gpt2Config config;
  config.vocab_size = kVocabulary;
  config.n_positions = tokens;
  config.n_layer = arguments.get("--layers", 4);
  config.n_embd = arguments.get("--hidden", 512);
  config.n_head = arguments.get("--heads", 8);
  config.n_inner = 4 * config.n_embd;
  config.attn_pdrop = 0;
  return config;
}

data::PackedBatch batch_of(int64_t documents, int64_t tokens_each) {
  std::vector<int32_t> ids;
  std::vector<int64_t> next_ids;
  for (int64_t i = 0; i < tokens_each; ++i) {
    ids.push_back(static_cast<int32_t>(i * i * 31 % kVocabulary));
    next_ids.push_back((i + 1) * (i + 1) * 31 % kVocabulary);
  }
  std::vector<data::PackSample> samples;
  for (int64_t d = 0; d < documents; ++d)
    samples.push_back({.ids = ids, .ordinal = static_cast<int32_t>(d)});
  const std::vector<std::vector<int64_t>> next(samples.size(), next_ids);
  data::PackedBatch batch = data::pack(samples, {.token_types = false});
  batch.labels["next"] = data::pack_rows(batch, next, -1);
  return batch;
}

void run(const Arguments& arguments) {
  const int64_t tokens = arguments.get("--tokens", 16384);
  const int64_t documents = arguments.get("--documents", 1);
  if (documents < 1 || tokens % documents != 0)
    throw input_error("--tokens must be a multiple of --documents");
  const int steps = arguments.get("--steps", 3);
  const auto method =
      arguments.get("--ulysses", 0) != 0 ? nn::CpMethod::kUlysses : nn::CpMethod::kRing;
  const auto world = comm::World::from_env();
  at::set_num_threads(world->threads());
  comm::Group& group = world->world_group();
  models::Gpt2LmHeadModel model(config_of(arguments, tokens));
  parallel::Engine engine(
      model.units(), group,
      {.compute_dtype = arguments.get("--bf16", 0) != 0 ? at::kBFloat16 : at::kFloat});
  engine.init(1);
  const data::PackedBatch whole = batch_of(documents, tokens / documents);
  nn::Context context;
  data::PackedBatch batch = whole;
  if (group.size() > 1) {
    data::CpShard shard = data::cp_shard(whole, group.rank(), group.size());
    batch = shard.batch;
    context.cp = std::make_shared<const nn::ContextParallel>(group, method, std::move(shard));
  }
  context.tokens = batch.tokens;
  context.positions = batch.positions;
  context.seq = &batch.seq;
  context.labels = batch.labels.at("next");
  context.label_count = tokens;
  context.training = true;
  context.hooks = &engine;
  context.recompute = arguments.get("--recompute", 0) != 0;

  double best_s = 1e30, loss_sum = 0;
  for (int step = 0; step < steps; ++step) {
    context.dropout = batch.dropout_key(1, static_cast<uint64_t>(step));
    group.barrier("step");
    const auto begin = std::chrono::steady_clock::now();
    engine.begin_step(1);
    const at::Tensor loss = model.forward(context);
    loss.backward();
    engine.end_micro_batch();
    engine.finish_step();
    best_s = std::min(
        best_s, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    const at::Tensor sum = loss.detach().to(at::kDouble);
    group.all_reduce(sum, comm::ReduceOp::kSum, "loss")->wait();
    loss_sum = sum.item<double>();
  }
  const auto bytes =
      static_cast<double>(train::process_memory().private_bytes + world->shared_bytes());
  const at::Tensor most = at::tensor(bytes, at::kDouble);
  group.all_reduce(most, comm::ReduceOp::kMax, "memory")->wait();
  if (world->rank() == 0) {
    std::printf("%d ranks of %d threads: %.2f s a step, %.0f MiB a rank, loss %.6f\n", group.size(),
                world->threads(), best_s, most.item<double>() / kMiB, loss_sum);
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run_example(argc, argv, run);
}
