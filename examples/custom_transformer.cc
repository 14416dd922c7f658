// A transformer of your own, of packed layers in units: a decoder that learns to go on counting, by
// a stride that it has to find out from the numbers before.
//
//   trireme launch -n 2 -- ./custom_transformer [--zero 0|1|2|3] [--steps 150] [--batch 64]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "example.h"
#include "trireme/comm/world.h"
#include "trireme/nn/layers.h"
#include "trireme/nn/loss.h"
#include "trireme/nn/tape.h"
#include "trireme/nn/unit.h"
#include "trireme/parallel/data_parallel.h"

namespace {

using namespace trireme;
constexpr int64_t kWidth = 64, kHeads = 4, kNumbers = 32, kLength = 16;

struct Embeddings {
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
    const at::Tensor g_ti = nn::bias_gelu(kernels::Gelu::kTanh, u_ti, up.bias);
    return nn::dropout_add(down.product(g_ti, context), down.bias, y_th, {}, context);
  }
  void collect(std::vector<nn::Param*>& params) {
    for (nn::LayerNorm* norm : {&norm1, &norm2}) norm->collect(params);
    for (nn::Linear* linear : {&qkv, &proj, &up, &down}) linear->collect(params);
  }
  std::string name;
  nn::LayerNorm norm1{name + ".norm1", kWidth, 1e-5}, norm2{name + ".norm2", kWidth, 1e-5};
  nn::Linear qkv{name + ".qkv", kWidth, 3 * kWidth, 0.1}, proj{name + ".proj", kWidth, kWidth, 0.1};
  nn::Linear up{name + ".up", kWidth, 256, 0.1}, down{name + ".down", 256, kWidth, 0.1};
};

struct Head {
  at::Tensor forward(const at::Tensor& x, nn::Context&) { return out.logits(norm.forward(x)); }
  void collect(std::vector<nn::Param*>& params) { norm.collect(params), out.collect(params); }
  nn::LayerNorm norm{"norm", kWidth, 1e-5};
  nn::Linear out{"head", kWidth, kNumbers, 0.1};
};

void run(const Arguments& arguments) {
  const int64_t steps = arguments.get("--steps", 150);
  const int64_t batch = arguments.get("--batch", 64);  // sequences of all ranks together
  const auto world = comm::World::from_env();
  at::set_num_threads(world->threads());
  // Blocks are called through nn::Unit: the engine sees each begin and end, forward and backward.
  nn::Unit<Embeddings> embed(0, "embeddings");
  nn::Unit<Block> block0(1, "block.0", "block.0"), block1(2, "block.1", "block.1");
  nn::Unit<Head> head(3, "head");
  parallel::DataParallel dp({embed.params(), block0.params(), block1.params(), head.params()},
                            /*seed=*/1, world->world_group(),
                            {.zero_stage = arguments.get("--zero", 0), .clip_norm = 1.0});
  const at::Tensor places = at::arange(kLength + 1, at::kLong);
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t begin = step * batch, end = begin + batch;  // of all ranks' sequences
    const at::Tensor n = at::arange(begin + world->rank(), end, world->size()).view({-1, 1});
    const at::Tensor numbers = (n * 11 + places * (1 + n * 5 % 7)) % kNumbers;
    const at::Tensor labels = numbers.narrow(1, 1, kLength).flatten();
    labels.view({-1, kLength}).select(1, 0).fill_(-1);  // nobody can know the second number
    const auto seq = kernels::SeqInfo::self(std::vector<int32_t>(size_t(n.numel()), kLength));
    nn::Context context;
    context.tokens = numbers.narrow(1, 0, kLength).flatten();
    context.positions = places.narrow(0, 0, kLength).repeat({n.numel()});
    context.seq = &seq;
    context.hooks = &dp.engine();
    const at::Tensor x_th = block0(embed(nn::graph_root(), context), context);
    const at::Tensor logits_tv = head(block1(x_th, context), context);
    const double right = logits_tv.argmax(1).eq(labels).sum().item<double>();
    const int64_t count = batch * (kLength - 1);  // of all ranks: losses are shares of the mean
    const at::Tensor loss = nn::cross_entropy(logits_tv, labels, count);
    dp.backward(loss);
    dp.step(/*lr=*/3e-3);
    if (step % 25 != 0 && step + 1 != steps) continue;
    const double mean = dp.sum(loss.item<double>()), share = dp.sum(right) / double(count);
    if (world->rank() == 0) std::printf("step %ld: loss %.4f, right %.3f\n", step + 1, mean, share);
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run_example(argc, argv, run);
}
