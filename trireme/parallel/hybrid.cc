#include "trireme/parallel/hybrid.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <map>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/parallel/global_norm.h"
#include "trireme/parallel/pipeline/csv.h"
#include "trireme/parallel/pipeline/generators.h"
#include "trireme/parallel/pipeline/messages.h"
#include "trireme/parallel/pipeline/stage_cut.h"
#include "trireme/parallel/tied_grads.h"
#include "trireme/parallel/unit_costs.h"

namespace trireme::parallel {
namespace {

using comm::Axis;
using pipeline::Schedule;

comm::Mesh mesh_of(const Layout& layout) {
  return comm::Mesh({.pp = static_cast<int>(layout.pp),
                     .dp = static_cast<int>(layout.dp),
                     .cp = static_cast<int>(layout.cp),
                     .tp = static_cast<int>(layout.tp),
                     .order = comm::parse_axis_order(layout.order)});
}

Schedule schedule_of(const Layout& layout, size_t micro_batches) {
  if (is_schedule_file(layout.schedule)) {
    return pipeline::schedule_from_csv(read_file(layout.schedule), layout.schedule);
  }
  return pipeline::with_messages(pipeline::make_schedule(
      layout.schedule, {.stages = static_cast<int>(layout.pp),
                        .micro_batches = static_cast<int>(micro_batches),
                        .chunks_per_stage = static_cast<int>(layout.chunks)}));
}

// A Param has one memory and one engine: what units of two chunks use must be two of them.
void refuse_shared(const nn::Chain& chain, const std::vector<size_t>& cuts) {
  std::map<const nn::Param*, size_t> holder;
  for (size_t c = 0; c + 1 < cuts.size(); ++c) {
    for (const nn::Param* param : nn::params_once(chain.units(cuts[c], cuts[c + 1]))) {
      if (holder.emplace(param, c).second) continue;
      throw input_error(
          "parameter ", param->spec.name,
          " is used in two chunks of the pipeline: give each unit a Param of its own, "
          "the first with spec.tie = nn::Tie::kOriginal, the other a copy of its spec "
          "with kCopy");
    }
  }
}

}  // namespace

// What several stages need.
struct Hybrid::Pipeline {
  std::vector<int> rank_of_chunk;
  std::unique_ptr<comm::Group> ends;  // the first and the last stage, which may share a table
  std::optional<TiedGrads> tied;
  std::optional<pipeline::Executor> executor;
  std::map<size_t, Schedule> schedules;  // by micro-batches
};

Hybrid::Hybrid(comm::World& world, const Layout& layout, const HybridOptions& options)
    : layout_(layout), options_(options), groups_(world, mesh_of(layout)) {
  if (layout.tp > 1) {
    tp_.emplace(nn::TensorParallel{groups_.along({Axis::kTp}), layout.sequence_parallel});
  }
}

Hybrid::Hybrid(comm::World& world, const nn::Chain& chain, const Layout& layout,
               const HybridOptions& options)
    : Hybrid(world, layout, options) {
  chain_ = &chain;
  if (layout.pp > 1) {
    make_pipeline(world);
  } else {
    add_chunk(0, 0, chain.size(), chain.units());
  }
}

Hybrid::Hybrid(comm::World& world, const std::vector<nn::UnitParams>& units, const Layout& layout,
               const HybridOptions& options)
    : Hybrid(world, layout, options) {
  if (layout.world() != layout.dp) {
    throw input_error("a model that is no chain of units has data parallelism and ZeRO alone, not ",
                      text(layout));
  }
  add_chunk(0, 0, units.size(), units);
}

Hybrid::~Hybrid() = default;

void Hybrid::add_chunk(int place, size_t begin, size_t end,
                       const std::vector<nn::UnitParams>& units) {
  EngineOptions options{.compute_dtype = options_.compute_dtype,
                        .zero_stage = static_cast<int>(layout_.zero),
                        .unused = options_.unused};
  if (tp_) {
    options.tp = &tp_->group;
    options.sequence_parallel = tp_->sequence;
  }
  if (layout_.pp * layout_.tp > 1) options.model = &groups_.along({Axis::kPp, Axis::kTp});
  auto engine = std::make_unique<Engine>(units, groups_.along({Axis::kDp, Axis::kCp}), options);
  auto adamw = std::make_unique<optim::AdamW>(engine->flat_buffers(), options_.adamw);
  engines_.push_back(engine.get());
  chunks_.push_back({place, begin, end, std::move(engine), std::move(adamw)});
}

void Hybrid::make_pipeline(comm::World& world) {
  if (options_.width < 1) {
    throw input_error(
        "HybridOptions::width: a pipeline must know the columns of what units pass on");
  }
  pipeline_ = std::make_unique<Pipeline>();
  pipeline_->rank_of_chunk = schedule_of(layout_, 1).rank_of_chunk;
  const std::vector<size_t> cuts = pipeline::cut_units(
      unit_costs(chain_->units()), static_cast<int>(pipeline_->rank_of_chunk.size()));
  refuse_shared(*chain_, cuts);
  std::vector<pipeline::ChunkPart> parts;
  for (size_t c = 0; c + 1 < cuts.size(); ++c) {
    if (pipeline_->rank_of_chunk[c] != groups_.here().pp) continue;
    add_chunk(static_cast<int>(c), cuts[c], cuts[c + 1], chain_->units(cuts[c], cuts[c + 1]));
    parts.push_back({static_cast<int>(c), cuts[c], cuts[c + 1], engines_.back()});
  }
  const int first = pipeline_->rank_of_chunk.front(), last = pipeline_->rank_of_chunk.back();
  if (first != last && (groups_.here().pp == first || groups_.here().pp == last)) {
    std::vector<int> ends;
    for (const int stage : {first, last}) {
      comm::Mesh::Coordinates at = groups_.here();
      at.pp = stage;
      ends.push_back(groups_.mesh().rank(at));
    }
    std::sort(ends.begin(), ends.end());
    pipeline_->ends = world.make_group(ends, cat("ends/", ends.front()));
  }
  pipeline_->tied.emplace(engines_, pipeline_->ends.get());
  pipeline_->executor.emplace(*chain_, parts, groups_.along({Axis::kPp}),
                              pipeline::ExecutorOptions{options_.width, options_.compute_dtype});
}

int64_t Hybrid::own_rows(int64_t rows) const {
  return tp_ && tp_->sequence ? rows / tp_->group.size() : rows;
}

void Hybrid::init(uint64_t seed) {
  for (Engine* engine : engines_) engine->init(seed);
}

double Hybrid::run(std::span<const MicroBatch> given, std::vector<double>* losses) {
  std::vector<MicroBatch> micro_batches(given.begin(), given.end());
  for (MicroBatch& micro_batch : micro_batches) {
    micro_batch.context.tp = tp();
    if (micro_batch.rows == 0 && micro_batch.context.tokens.defined()) {
      micro_batch.rows = own_rows(micro_batch.context.tokens.size(0));
    }
    if (!micro_batch.loss) {
      micro_batch.loss = [](const at::Tensor& output, const nn::Context&) { return output; };
    }
  }
  std::vector<double> by_micro_batch;
  double sum = 0;
  if (pipeline_) {
    on_phase(StepPhase::kPipeline);
    auto found = pipeline_->schedules.find(micro_batches.size());
    if (found == pipeline_->schedules.end()) {
      found = pipeline_->schedules
                  .emplace(micro_batches.size(), schedule_of(layout_, micro_batches.size()))
                  .first;
    }
    pipeline::StepLosses of_stage = pipeline_->executor->run_step(found->second, micro_batches);
    by_micro_batch = std::move(of_stage.by_micro_batch);
    sum = of_stage.sum;
  } else {
    sum = run_here(micro_batches, by_micro_batch);
  }
  on_phase(StepPhase::kReduce);
  for (Engine* engine : engines_) engine->finish_step();
  if (pipeline_) pipeline_->tied->sum();
  if (losses != nullptr) *losses = std::move(by_micro_batch);
  return speaks() ? sum : 0;
}

double Hybrid::run_here(std::span<const MicroBatch> micro_batches, std::vector<double>& losses) {
  Engine& engine = *engines_.front();
  double sum = 0;
  engine.begin_step(static_cast<int>(micro_batches.size()));
  for (const MicroBatch& micro_batch : micro_batches) {
    on_phase(StepPhase::kForward);
    nn::Context context = micro_batch.context;
    context.hooks = &engine;
    const at::Tensor output = chain_ != nullptr ? (*chain_)(context) : at::Tensor();
    const at::Tensor loss = micro_batch.loss(output, context);
    losses.push_back(loss.item<double>());
    sum += losses.back();
    on_phase(StepPhase::kBackward);
    loss.backward();
    engine.end_micro_batch();
  }
  return sum;
}

double Hybrid::grad_norm() const {
  return parallel::grad_norm(engines_);
}

void Hybrid::update(const optim::StepOptions& step) {
  for (const Chunk& chunk : chunks_) chunk.adamw->step(step);
  on_phase(StepPhase::kReduce);
  for (Engine* engine : engines_) engine->gather_updates();
}

Hybrid::Inference::Inference(Hybrid& model) : model_(model) {
  for (Engine* engine : model.engines_) whole_.emplace_back(*engine);
}

at::Tensor Hybrid::Inference::run(nn::Context& context) {
  const at::NoGradGuard no_grad;
  context.tp = model_.tp();
  at::Tensor output;
  if (model_.pipeline_) {
    const MicroBatch batch{.context = context, .rows = model_.own_rows(context.tokens.size(0))};
    model_.pipeline_->executor->run_forward(
        model_.pipeline_->rank_of_chunk, {&batch, 1},
        [&output](int, const at::Tensor& of_last) { output = of_last; });
  } else {
    output = (*model_.chain_)(context);
  }
  return model_.speaks() ? output : at::Tensor();
}

}  // namespace trireme::parallel
