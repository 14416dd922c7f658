// A transformer of your own over every axis at once: data, tensor and pipeline parallel ranks, ZeRO
// and pipeline schedules, from the same blocks. It learns to go on counting
// (custom_transformer.cc).
//
//   trireme launch -n 4 -- ./hybrid_transformer [--tp 2] [--pp 2] [--zero 0|1|2] [--steps 150]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "example.h"
#include "trireme/comm/world.h"
#include "trireme/nn/chain.h"
#include "trireme/nn/layers.h"
#include "trireme/nn/loss.h"
#include "trireme/nn/tensor_parallel.h"
#include "trireme/optim/grad_norm.h"
#include "trireme/parallel/hybrid.h"

namespace {

using namespace trireme;
constexpr int64_t kWidth = 64, kHeads = 4, kNumbers = 32, kLength = 16;

// Tensor parallelism cuts tables by rows, a block's first products by columns, its last by rows.
struct Embeddings {
  Embeddings() { word.spec.tp = nn::TpKind::kShard; }
  at::Tensor forward(const at::Tensor& root, nn::Context& context) {
    return nn::embedding_sum(root, word, position, nullptr, context);
  }
  void collect(std::vector<nn::Param*>& params) { params.insert(params.end(), {&word, &position}); }
  nn::Param word{nn::matrix_spec("word", kNumbers, kWidth, 0.1)};
  nn::Param position{nn::matrix_spec("position", kLength, kWidth, 0.1)};
};

struct Block {
  explicit Block(std::string name) : name(std::move(name)) {}
  at::Tensor forward(const at::Tensor& x_th, nn::Context& context) {
    const at::Tensor qkv_t3h = qkv.forward(norm1.forward(x_th), context);
    const at::Tensor a_th = nn::self_attention(qkv_t3h, kHeads, /*causal=*/true, {}, context);
    const at::Tensor y_th =
        nn::dropout_add(proj.product(a_th, context), proj.bias, x_th, {}, context);
    const at::Tensor u_ti = up.product(norm2.forward(y_th), context);
    const at::Tensor h_ti = nn::bias_gelu(kernels::Gelu::kTanh, u_ti, up.bias);
    return nn::dropout_add(down.product(h_ti, context), down.bias, y_th, {}, context);
  }
  void collect(std::vector<nn::Param*>& params) {
    for (nn::LayerNorm* norm : {&norm1, &norm2}) norm->collect(params);
    for (nn::Linear* linear : {&qkv, &proj, &up, &down}) linear->collect(params);
  }
  std::string name;
  nn::LayerNorm norm1{name + ".norm1", kWidth, 1e-5}, norm2{name + ".norm2", kWidth, 1e-5};
  // Query, key and value are parts of one product, each cut on its own.
  std::vector<nn::Part> parts{{name + ".q", kWidth}, {name + ".k", kWidth}, {name + ".v", kWidth}};
  nn::Linear qkv{name + ".qkv", kWidth, parts, 0.1, nn::TpCut::kColumn};
  nn::Linear proj{name + ".proj", kWidth, kWidth, 0.1, nn::TpCut::kRow};
  nn::Linear up{name + ".up", kWidth, 256, 0.1, nn::TpCut::kColumn};
  nn::Linear down{name + ".down", 256, kWidth, 0.1, nn::TpCut::kRow};
};

// The loss: every rank makes the logits of its own numbers.
struct Head {
  Head() { out.spec.tp = nn::TpKind::kShard; }
  at::Tensor forward(const at::Tensor& x_th, nn::Context& context) {
    const at::Tensor all_th = nn::all_rows(norm.forward(x_th), nn::RowUse::kCut, context);
    return nn::linear_cross_entropy(all_th, out, context.labels, context.label_count, context);
  }
  void collect(std::vector<nn::Param*>& params) { norm.collect(params), params.push_back(&out); }
  nn::LayerNorm norm{"norm", kWidth, 1e-5};
  nn::Param out{nn::matrix_spec("head", kNumbers, kWidth, 0.1)};
};

void run(const Arguments& arguments) {
  const int64_t steps = arguments.get("--steps", 150), batch = arguments.get("--batch", 64);
  const auto world = comm::World::from_env();
  at::set_num_threads(world->threads());
  nn::Unit<Embeddings> embed(0, "embeddings");
  nn::Unit<Block> block0(1, "block.0", "block.0"), block1(2, "block.1", "block.1");
  nn::Unit<Head> head(3, "head");
  nn::Chain chain;  // what a pipeline cuts into stages
  chain.add(embed), chain.add(block0), chain.add(block1), chain.add(head);
  const auto where = [](const std::string& key) { return key; };
  parallel::Layout layout{.pp = arguments.get("--pp", 1), .dp = 0, .tp = arguments.get("--tp", 1)};
  layout.zero = arguments.get("--zero", 0);
  layout.schedule = "auto";
  layout = parallel::fitted(layout, world->size(), where);  // dp: the ranks that are left
  parallel::check_layout(layout, {.layers = 2, .heads = kHeads}, where);
  parallel::Hybrid model(*world, chain, layout, {.width = kWidth});
  model.init(/*seed=*/1);
  constexpr int64_t kMicroBatches = 4;
  const at::Tensor places = at::arange(kLength + 1, at::kLong);
  for (int64_t step = 0; step < steps; ++step) {
    std::vector<parallel::Hybrid::MicroBatch> micro_batches(kMicroBatches);
    std::vector<kernels::SeqInfo> seqs(kMicroBatches);
    const int64_t parts = kMicroBatches * model.data_ranks();
    for (int64_t m = 0; m < kMicroBatches; ++m) {
      const int64_t part = model.data_rank() * kMicroBatches + m;
      const at::Tensor n = at::arange(step * batch + part, (step + 1) * batch, parts).view({-1, 1});
      const at::Tensor numbers = (n * 11 + places * (1 + n * 5 % 7)) % kNumbers;
      nn::Context& context = micro_batches[m].context;
      seqs[m] = kernels::SeqInfo::self(std::vector<int32_t>(size_t(n.numel()), kLength));
      context.seq = &seqs[m];
      context.tokens = numbers.narrow(1, 0, kLength).flatten();
      context.positions = places.narrow(0, 0, kLength).repeat({n.numel()});
      context.labels = numbers.narrow(1, 1, kLength).flatten();
      context.labels.view({-1, kLength}).select(1, 0).fill_(-1);  // nobody can know the second
      context.label_count = batch * (kLength - 1);  // of all ranks: losses are shares of the mean
    }
    at::Tensor loss = at::scalar_tensor(model.run(micro_batches), at::kDouble);
    model.update({.lr = 3e-3, .grad_factor = optim::clip_factor(model.grad_norm(), 1.0)});
    world->world_group().all_reduce(loss, comm::ReduceOp::kSum, "loss")->wait();
    if (world->rank() == 0 && (step % 25 == 0 || step + 1 == steps))
      std::printf("step %ld: loss %.4f\n", step + 1, loss.item<double>());
  }
}

}  // namespace
int main(int argc, char** argv) {
  return run_example(argc, argv, run);
}
