// A training step of a GPT-2 over a pipeline, one rank a stage: tokens/s, the share of time in
// which ranks are idle, and both beside what the simulator says from the costs of the actions.
//
//   trireme launch -n 2 -- pipeline_step --schedule 1f1b [--bf16 1] [--trace step.json]
//
// On one rank it runs a pipeline of one stage and the loop without a pipeline in turn, and prints
// their ratio. The head's copy of the token embeddings stays tied to them: their gradients are
// summed before the update.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <memory>

#include "examples/example.h"
#include "trireme/base/files.h"
#include "trireme/comm/world.h"
#include "trireme/data/packed_batch.h"
#include "trireme/models/gpt2.h"
#include "trireme/optim/adamw.h"
#include "trireme/optim/grad_norm.h"
#include "trireme/parallel/global_norm.h"
#include "trireme/parallel/pipeline/executor.h"
#include "trireme/parallel/pipeline/generators.h"
#include "trireme/parallel/pipeline/print.h"
#include "trireme/parallel/pipeline/stage_cut.h"
#include "trireme/parallel/pipeline/timeline.h"

namespace {

using namespace trireme;
namespace pp = parallel::pipeline;

std::string text_of(const Arguments& arguments, const std::string& name, const char* otherwise) {
  for (int i = 1; i + 1 < arguments.argc; ++i) {
    if (name == arguments.argv[i]) return arguments.argv[i + 1];
  }
  return otherwise;
}

struct Settings {
  explicit Settings(const Arguments& a)
      : schedule(text_of(a, "--schedule", "1f1b")),
        trace(text_of(a, "--trace", "")),
        chunks(a.get("--chunks", 2)),
        micro_batches(a.get("--micro-batches", 8)),
        context(a.get("--context", 512)),
        steps(a.get("--steps", 6)),
        dtype(a.get("--bf16", 0) != 0 ? at::kBFloat16 : at::kFloat) {
    model.n_layer = a.get("--layers", 12);
    model.n_head = a.get("--heads", 12);
    model.n_embd = a.get("--hidden", 768);
    model.n_inner = 4 * model.n_embd;
    model.n_positions = context;
    model.vocab_size = a.get("--vocab", 50257);
    model.tie_word_embeddings = false;
    model.embd_pdrop = model.attn_pdrop = model.resid_pdrop = 0;
    if (steps < 3) throw input_error("--steps must be at least 3");
  }
  std::string schedule, trace;
  int chunks, micro_batches, context, steps;
  at::ScalarType dtype;
  models::Gpt2Config model;
};

// Products of a unit's forward, by token.
std::vector<double> unit_flops(const Settings& s) {
  const auto H = static_cast<double>(s.model.n_embd);
  std::vector<double> flops{0};
  flops.insert(flops.end(), static_cast<size_t>(s.model.n_layer), 24 * H * H + 2 * s.context * H);
  flops.push_back(2 * H * static_cast<double>(s.model.vocab_size));
  return flops;
}

struct Batches {
  explicit Batches(const Settings& s) {
    for (int m = 0; m < s.micro_batches; ++m) {
      std::vector<int32_t> ids;
      for (int i = 0; i <= s.context; ++i) {
        ids.push_back(static_cast<int32_t>((m * 7919 + i * 104729 + i * i) % s.model.vocab_size));
      }
      const std::vector<data::PackSample> samples{
          {.ids = std::span(ids).first(static_cast<size_t>(s.context))}};
      packed.push_back(data::pack(samples, {.token_types = false}));
      next.push_back(at::tensor(std::vector<int64_t>(ids.begin() + 1, ids.end()), at::kLong));
    }
    for (int m = 0; m < s.micro_batches; ++m) {
      const data::PackedBatch& batch = packed[static_cast<size_t>(m)];
      pp::MicroBatch micro;
      micro.context.tokens = batch.tokens;
      micro.context.positions = batch.positions;
      micro.context.seq = &batch.seq;
      micro.context.dropout = batch.dropout_key(1, 1);
      micro.context.training = true;
      micro.context.labels = next[static_cast<size_t>(m)];
      micro.context.label_count = int64_t{s.context} * s.micro_batches;
      micro.rows = batch.rows();
      micro.loss = [](const at::Tensor& output, const nn::Context&) { return output; };
      micro_batches.push_back(std::move(micro));
    }
  }
  std::vector<data::PackedBatch> packed;
  std::vector<at::Tensor> next;
  std::vector<pp::MicroBatch> micro_batches;
};

// The gradient of a named tensor, where an engine here has it.
at::Tensor gradient_of(const std::vector<std::unique_ptr<parallel::Engine>>& engines,
                       const std::string& name) {
  for (const auto& engine : engines) {
    for (const parallel::Region& region : engine->regions()) {
      if (region.name == name) return region.view(engine->flat_buffers()[region.bucket].grad);
    }
  }
  return {};
}

// A rank's chunks with all that updates them. No schedule: the whole model in a plain loop.
class Stage {
 public:
  Stage(comm::World& world, const Settings& s, bool piped)
      : world_(world), settings_(s), model_(s.model), alone_(comm::World::single()) {
    if (piped) {
      schedule_ = pp::make_schedule(s.schedule, {world.size(), s.micro_batches, s.chunks});
    } else {
      schedule_ = pp::gpipe(1, s.micro_batches);
    }
    const auto begins = pp::cut_units(unit_flops(s), schedule_.chunks());
    std::vector<pp::ChunkPart> parts;
    parallel::EngineOptions options;
    options.compute_dtype = s.dtype;
    if (piped) options.model = &world.world_group();
    for (const int chunk : schedule_.chunks_of(world.rank())) {
      const auto c = static_cast<size_t>(chunk);
      engines_.push_back(std::make_unique<parallel::Engine>(
          model_.chain().units(begins[c], begins[c + 1]), alone_->world_group(), options));
      engines_.back()->init(7);
      for (const auto& buffer : engines_.back()->flat_buffers()) buffers_.push_back(buffer);
      parts.push_back({chunk, begins[c], begins[c + 1], engines_.back().get()});
    }
    adamw_ = std::make_unique<optim::AdamW>(buffers_, optim::AdamWOptions{});
    if (!piped) return;
    executor_ = std::make_unique<pp::Executor>(model_.chain(), parts, world.world_group(),
                                               pp::ExecutorOptions{s.model.n_embd, s.dtype});
    const int last = schedule_.rank_of_chunk.back();
    const bool at_end = world.rank() == 0 || world.rank() == last;
    if (last != 0 && at_end) ends_ = world.make_group({0, last}, "ends");
  }

  double step(const Batches& batches) {
    double loss = 0;
    if (executor_) {
      loss = executor_->run_step(schedule_, batches.micro_batches).sum;
    } else {
      loss = plain_loop(batches);
    }
    for (const auto& engine : engines_) engine->finish_step();
    tie();
    const at::Tensor sum = at::scalar_tensor(loss, at::kDouble);
    world_.world_group().all_reduce(sum, comm::ReduceOp::kSum, "loss")->wait();
    std::vector<parallel::Engine*> engines;
    for (const auto& engine : engines_) engines.push_back(engine.get());
    const double norm = parallel::grad_norm(engines);
    adamw_->step({.lr = 1e-4, .grad_factor = optim::clip_factor(norm, 1.0)});
    for (const auto& engine : engines_) engine->gather_updates();
    return sum.item<double>();
  }

  const pp::Schedule& schedule() const { return schedule_; }

  // Of the last step, of all ranks.
  pp::Simulation timeline() {
    std::vector<std::vector<pp::TimedAction>> ranks;
    for (const std::string& text :
         world_.world_group().all_gather_bytes(pp::to_text(executor_->timeline()), "timelines")) {
      ranks.push_back(pp::timeline_from_text(text));
    }
    return pp::measured(std::move(ranks));
  }

 private:
  double plain_loop(const Batches& batches) {
    double loss = 0;
    engines_[0]->begin_step(settings_.micro_batches);
    for (const pp::MicroBatch& micro : batches.micro_batches) {
      nn::Context context = micro.context;
      context.hooks = engines_[0].get();
      const at::Tensor share = model_.forward(context);
      loss += share.item<double>();
      share.backward();
      engines_[0]->end_micro_batch();
    }
    return loss;
  }

  void tie() {
    at::Tensor table = gradient_of(engines_, "transformer.wte.weight");
    at::Tensor head = gradient_of(engines_, "lm_head.weight");
    if (table.defined() && head.defined()) {
      table.add_(head);
      head.copy_(table);
    } else if (ends_ && (table.defined() || head.defined())) {
      const at::Tensor mine = table.defined() ? table : head;
      ends_->all_reduce(mine, comm::ReduceOp::kSum, "tied embeddings")->wait();
    }
  }

  comm::World& world_;
  const Settings& settings_;
  models::Gpt2LmHeadModel model_;
  std::unique_ptr<comm::World> alone_;
  std::unique_ptr<comm::Group> ends_;
  pp::Schedule schedule_;
  std::vector<std::unique_ptr<parallel::Engine>> engines_;
  std::vector<optim::FlatBuffer> buffers_;
  std::unique_ptr<optim::AdamW> adamw_;
  std::unique_ptr<pp::Executor> executor_;
};

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// Seconds of a message of an activation's size from rank 0 to 1, half a round trip.
double message_s(comm::World& world, const Settings& s) {
  const at::Tensor buffer = at::zeros({s.context, s.model.n_embd}, s.dtype);
  comm::Group& group = world.world_group();
  constexpr int kTrips = 20;
  group.barrier("before");
  const double begin = now_s();
  for (int i = 0; i < kTrips && world.rank() < 2; ++i) {
    if (world.rank() == 0) group.send(buffer, 1, "there")->wait();
    group.recv(buffer, 1 - world.rank(), "message")->wait();
    if (world.rank() == 1) group.send(buffer, 0, "back")->wait();
  }
  const double one = (now_s() - begin) / (2 * kTrips);
  group.barrier("after");
  return one;
}

double timed_step(Stage& stage, const Batches& batches) {
  const double begin = now_s();
  stage.step(batches);
  return now_s() - begin;
}

void one_rank(comm::World& world, const Settings& s, const Batches& batches) {
  Stage piped(world, s, true), plain(world, s, false);
  piped.step(batches);
  plain.step(batches);
  std::vector<double> ratios;
  for (int i = 0; i < s.steps; ++i) {
    // The order in turn: what comes second finds a warmer or a slower machine.
    double with = 0, without = 0;
    if (i % 2 == 0) with = timed_step(piped, batches);
    without = timed_step(plain, batches);
    if (i % 2 != 0) with = timed_step(piped, batches);
    ratios.push_back(without / with);
    std::printf("one stage %.3f s, no pipeline %.3f s\n", with, without);
  }
  std::printf("speed of one stage to no pipeline: median %.3f\n", median(ratios));
}

void several_ranks(comm::World& world, const Settings& s, const Batches& batches) {
  Stage stage(world, s, true);
  const double message = message_s(world, s);
  stage.step(batches);
  stage.step(batches);
  // The costs of this step predict the next ones.
  pp::Costs costs = pp::measured_costs(stage.schedule(), stage.timeline());
  costs.message_latency = message;
  const pp::Simulation simulated = pp::simulate(stage.schedule(), costs);
  std::vector<double> times, spans, bubbles;
  pp::Simulation last;
  double loss = 0;
  for (int i = 0; i < s.steps; ++i) {
    world.world_group().barrier("step");
    const double begin = now_s();
    loss = stage.step(batches);
    times.push_back(now_s() - begin);
    last = stage.timeline();
    spans.push_back(last.makespan);
    bubbles.push_back(last.bubble());
  }
  if (world.rank() != 0) return;
  const double tokens = static_cast<double>(s.context) * s.micro_batches;
  std::printf("%s", pp::time_grid(stage.schedule(), last, {.max_columns = 160}).c_str());
  std::printf("schedule %s, %d stages, %d micro-batches of %d tokens, %s: loss %.4f\n",
              s.schedule.c_str(), world.size(), s.micro_batches, s.context, c10::toString(s.dtype),
              loss);
  std::printf("step %.3f s, %.0f tokens/s (median of %d); a message %.2f ms\n", median(times),
              tokens / median(times), s.steps, 1e3 * message);
  std::printf("forward and backward %.3f s, simulated %.3f s (%.3f); bubble %.3f, simulated %.3f\n",
              median(spans), simulated.makespan, median(spans) / simulated.makespan,
              median(bubbles), simulated.bubble());
  if (!s.trace.empty()) {
    write_file_atomic(
        s.trace, dump_json(pp::chrome_trace(stage.schedule(), {{"measured", last.ranks},
                                                               {"simulated", simulated.ranks}})));
  }
}

void run(const Arguments& arguments) {
  const Settings settings(arguments);
  const auto world = comm::World::from_env();
  at::set_num_threads(world->threads());
  const Batches batches(settings);
  if (world->size() == 1) {
    one_rank(*world, settings, batches);
  } else {
    several_ranks(*world, settings, batches);
  }
}

}  // namespace

int main(int argc, char** argv) {
  return run_example(argc, argv, run);
}
