// GPT-2 124M forward and backward on the ranks of a tensor-parallel group, beside the same on one
// rank with one thread and with as many as there are ranks, in turn in one run. Prints the median
// time of a micro-batch of each and their ratios.
//
//   trireme launch -n 2 -- tensor_parallel [--tokens 512] [--rounds 7] [--bf16 1] [--sequence 1]
//       [--only 0|1|2]                # that way alone, for a profiler
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>

#include "examples/example.h"
#include "trireme/comm/flight_recorder.h"
#include "trireme/comm/world.h"
#include "trireme/models/gpt2.h"
#include "trireme/nn/tensor_parallel.h"

namespace {

using namespace trireme;

class Replica {
 public:
  Replica(const models::Gpt2Config& config, at::ScalarType dtype, const nn::TensorParallel* tp)
      : model_(config), tp_(tp) {
    nn::allocate_values(model_.units(), dtype, tp != nullptr ? tp->slice() : nn::TpSlice{});
    nn::allocate_grads(model_.units());
    params_ = nn::params_once(model_.units());
    for (nn::Param* param : params_) nn::init_param(*param, 7, param->value);
  }

  double step(const at::Tensor& tokens) {
    const auto T = static_cast<int32_t>(tokens.numel());
    const std::vector<int32_t> lengths = {T};
    const auto seq = kernels::SeqInfo::self(lengths);
    nn::Context context;
    context.tokens = tokens;
    context.positions = at::arange(T, at::kLong);
    context.seq = &seq;
    context.labels = at::cat({tokens.narrow(0, 1, T - 1), at::full({1}, -1, at::kLong)});
    context.label_count = T - 1;
    context.dropout = {1, 1, at::zeros({T}, at::kInt), context.positions.to(at::kInt)};
    context.training = true;
    context.tp = tp_;
    for (nn::Param* param : params_) param->expect_fresh_grad();
    const at::Tensor loss = model_.forward(context);
    loss.backward();
    return loss.item<double>();
  }

 private:
  models::Gpt2LmHeadModel model_;
  const nn::TensorParallel* tp_;
  std::vector<nn::Param*> params_;
};

void run(const Arguments& arguments) {
  const int64_t tokens = arguments.get("--tokens", 512), rounds = arguments.get("--rounds", 7);
  const int only = arguments.get("--only", -1);
  const at::ScalarType dtype = arguments.get("--bf16", 0) != 0 ? at::kBFloat16 : at::kFloat;
  const auto world = comm::World::from_env();
  const nn::TensorParallel tp{world->world_group(), arguments.get("--sequence", 0) != 0};
  const models::Gpt2Config config;
  const at::Tensor ids = at::arange(tokens, at::kLong) * 97 % config.vocab_size;

  const bool alone = world->rank() == 0;
  std::unique_ptr<Replica> whole;
  if (alone) whole = std::make_unique<Replica>(config, dtype, nullptr);
  Replica part(config, dtype, &tp);

  struct Way {
    const char* name;
    int threads;
    Replica* replica;  // null: this rank waits
    double loss = 0;
    std::vector<double> seconds = {};
    double waited_s = 0;  // of these, for the other ranks
  };
  std::vector<Way> ways = {{"one rank, 1 thread", 1, whole.get()},
                           {"one rank, all threads", world->size(), whole.get()},
                           {"tensor parallel", 1, &part}};
  for (int64_t round = 0; round <= rounds; ++round) {
    for (Way& way : ways) {
      if (only >= 0 && &way != &ways[static_cast<size_t>(only)]) continue;
      world->world_group().barrier("way");
      if (way.replica == nullptr) continue;
      at::set_num_threads(way.threads);
      const auto begin = std::chrono::steady_clock::now();
      const double waited_s = world->recorder().blocked_s();
      way.loss = way.replica->step(ids);
      const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
      if (round == 0) continue;
      way.seconds.push_back(time.count());
      way.waited_s += world->recorder().blocked_s() - waited_s;
    }
  }
  world->world_group().barrier("end");
  if (!alone || only >= 0) return;
  std::vector<double> median;
  for (Way& way : ways) {
    std::nth_element(way.seconds.begin(), way.seconds.begin() + rounds / 2, way.seconds.end());
    median.push_back(way.seconds[static_cast<size_t>(rounds / 2)]);
    std::printf("%-22s %8.1f ms  least %8.1f ms  in collectives %6.1f ms  loss %.6f\n", way.name,
                median.back() * 1e3,
                *std::min_element(way.seconds.begin(), way.seconds.end()) * 1e3,
                way.waited_s / static_cast<double>(rounds) * 1e3, way.loss);
  }
  std::printf("tensor parallel is %.2f times one thread, %.2f times all threads\n",
              median[0] / median[2], median[1] / median[2]);
}

}  // namespace

int main(int argc, char** argv) {
  return run_example(argc, argv, run);
}
