#include "trireme/plan/plan.h"

#include <algorithm>
#include <memory>
#include <numeric>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/comm/mesh.h"
#include "trireme/data/plan_step.h"
#include "trireme/parallel/pipeline/csv.h"
#include "trireme/parallel/pipeline/generators.h"
#include "trireme/parallel/pipeline/simulate.h"
#include "trireme/parallel/pipeline/stage_cut.h"
#include "trireme/parallel/unit_costs.h"
#include "trireme/plan/rank_player.h"

namespace trireme::plan {
namespace {

namespace pipeline = parallel::pipeline;

// A step of the run, dealt out: the batches of the data rank that has most to do.
struct StepWork {
  std::vector<PlayedBatch> batches;
  int64_t tokens = 0;  // of all ranks
};

StepWork work_of(const data::GlobalBatch& batch, const PlanInput& input,
                 const parallel::Layout& layout) {
  const data::StepPlan dealt =
      data::plan_step(batch.lengths, {.dp = static_cast<int>(layout.dp),
                                      .cp = static_cast<int>(layout.cp),
                                      .micro_batch_tokens = input.micro_batch_tokens});
  const auto tokens = [](const std::vector<data::MicroBatch>& micro_batches) {
    int64_t sum = 0;
    for (const data::MicroBatch& micro : micro_batches) sum += micro.tokens;
    return sum;
  };
  const auto heaviest =
      std::max_element(dealt.ranks.begin(), dealt.ranks.end(),
                       [&](const auto& a, const auto& b) { return tokens(a) < tokens(b); });
  StepWork work{.batches = {}, .tokens = dealt.tokens};
  for (const data::MicroBatch& micro : *heaviest) {
    PlayedBatch played{.rows = micro.rows / layout.cp,
                       .lengths = {},
                       .attention_share = 1.0 / static_cast<double>(layout.cp),
                       .ulysses = layout.cp_method == "ulysses"};
    for (const int32_t sample : micro.samples) {
      played.lengths.push_back(batch.lengths[static_cast<size_t>(sample)]);
    }
    work.batches.push_back(std::move(played));
  }
  return work;
}

// The run's first steps.
std::vector<StepWork> first_steps(const PlanInput& input, const parallel::Layout& layout) {
  std::vector<StepWork> steps;
  data::DataCursor cursor;
  for (int64_t s = 0; s < input.steps; ++s) {
    const data::GlobalBatch batch =
        data::next_global_batch(input.lengths, input.seed, input.batch, cursor);
    cursor = batch.next;
    steps.push_back(work_of(batch, input, layout));
  }
  return steps;
}

DryRunOptions dry_run_options(const PlanInput& input, const parallel::Layout& layout) {
  const Machine& machine = *input.machine;
  const int64_t on_host = ranks_per_host(input, layout.world());
  const int64_t threads =
      input.threads > 0 ? input.threads : std::max<int64_t>(1, machine.cores / on_host);
  DryRunOptions options{.machine = &machine,
                        .rates = &machine.rates(on_host, threads),
                        .dtype = input.dtype,
                        .peers = {},
                        .cores_to_spare = on_host * threads < machine.cores,
                        .crowding = std::max(1.0, static_cast<double>(on_host * threads) /
                                                      static_cast<double>(machine.cores))};
  const comm::Mesh mesh({.pp = static_cast<int>(layout.pp),
                         .dp = static_cast<int>(layout.dp),
                         .cp = static_cast<int>(layout.cp),
                         .tp = static_cast<int>(layout.tp),
                         .order = comm::parse_axis_order(layout.order)});
  const auto set = [&](Axis axis, std::initializer_list<comm::Axis> along) {
    const std::vector<int> ranks = mesh.along(along, 0);
    std::vector<int64_t> hosts;
    for (const int rank : ranks) hosts.push_back(rank / on_host);
    hosts.erase(std::unique(hosts.begin(), hosts.end()), hosts.end());
    options.peers[static_cast<size_t>(axis)] = {.ranks = static_cast<int64_t>(ranks.size()),
                                                .hosts = static_cast<int64_t>(hosts.size())};
  };
  set(Axis::kPp, {comm::Axis::kPp});
  set(Axis::kData, {comm::Axis::kDp, comm::Axis::kCp});
  set(Axis::kCp, {comm::Axis::kCp});
  set(Axis::kTp, {comm::Axis::kTp});
  return options;
}

PlayedAction::Kind played_kind(pipeline::ActionKind kind) {
  switch (kind) {
    case pipeline::ActionKind::kForward:
      return PlayedAction::Kind::kForward;
    case pipeline::ActionKind::kBackwardInput:
      return PlayedAction::Kind::kBackwardInput;
    case pipeline::ActionKind::kBackwardWeight:
      return PlayedAction::Kind::kBackwardWeight;
    default:
      return PlayedAction::Kind::kBackward;
  }
}

pipeline::Schedule schedule_of(const parallel::Layout& layout, size_t micro_batches) {
  if (parallel::is_schedule_file(layout.schedule)) {
    return pipeline::schedule_from_csv(read_file(layout.schedule), layout.schedule);
  }
  if (layout.pp > 1) {
    return pipeline::make_schedule(layout.schedule,
                                   {.stages = static_cast<int>(layout.pp),
                                    .micro_batches = static_cast<int>(micro_batches),
                                    .chunks_per_stage = static_cast<int>(layout.chunks)});
  }
  pipeline::Schedule schedule{.name = "none",
                              .micro_batches = static_cast<int>(micro_batches),
                              .rank_of_chunk = {0},
                              .actions = {{}}};
  for (int m = 0; m < schedule.micro_batches; ++m) {
    schedule.actions[0].push_back({pipeline::ActionKind::kForward, m, 0});
    schedule.actions[0].push_back({pipeline::ActionKind::kBackward, m, 0});
  }
  return schedule;
}

// All stages of one data, context and tensor rank.
class Stages {
 public:
  Stages(const PlanInput& input, const parallel::Layout& layout)
      : input_(input),
        units_(units_of(input, layout)),
        layout_(layout),
        options_(dry_run_options(input, layout)) {
    for (nn::Param* param : nn::params_once(units_)) {
      // The last tp rank's slices are the widest.
      param->slice = {.rank = static_cast<int>(layout.tp) - 1, .size = static_cast<int>(layout.tp)};
    }
    for (const StageChunks& chunks : stage_chunks(units_, layout)) {
      first_chunk_.push_back(chunks.front());
      players_.push_back(
          std::make_unique<RankPlayer>(input, layout, options_, chunks, players_.empty()));
    }
  }

  void step(const StepWork& work) {
    // Many micro-batches are like each other: the first ones stand for the rest.
    const size_t all = work.batches.size();
    const bool some =
        input_.most_micro_batches > 0 && !parallel::is_schedule_file(layout_.schedule);
    const size_t played = some ? std::min(all, static_cast<size_t>(input_.most_micro_batches *
                                                                   layout_.pp * layout_.chunks))
                               : all;
    const std::vector<PlayedBatch> batches(work.batches.begin(),
                                           work.batches.begin() + static_cast<ptrdiff_t>(played));
    const pipeline::Schedule schedule = schedule_of(layout_, played);
    if (schedule.micro_batches != static_cast<int>(played)) {
      throw input_error(layout_.schedule, ": is of ", schedule.micro_batches,
                        " micro-batches, and a step has ", all,
                        "; set data.micro_batch_tokens or the global batch for as many");
    }
    std::vector<pipeline::ChunkCost> costs(
        static_cast<size_t>(schedule.chunks()),
        {.forward = 0, .backward_input = 0, .backward_weight = 0});
    double update = 0;
    for (size_t rank = 0; rank < players_.size(); ++rank) {
      const double busy = play(static_cast<int>(rank), schedule, batches, work.tokens, costs);
      busy_[rank] += busy * static_cast<double>(all) / static_cast<double>(played);
      update = std::max(update, players_[rank]->update_s());
    }
    for (pipeline::ChunkCost& cost : costs) {
      for (double* s : {&cost.forward, &cost.backward_input, &cost.backward_weight}) {
        *s /= static_cast<double>(played);
      }
    }
    if (layout_.pp == 1) {
      seconds_ += busy_step_ * static_cast<double>(all) / static_cast<double>(played) + update;
    } else {
      const pipeline::Simulation simulation =
          pipeline::simulate(schedule_of(layout_, all),
                             {.chunks = costs, .micro_batch_size = relative_sizes(work.batches)});
      seconds_ += simulation.makespan + update + tied_seconds();
      bubble_ += simulation.bubble();
    }
    micro_batches_ += static_cast<double>(all);
    scale_ += static_cast<double>(all) / static_cast<double>(played);
    tokens_ += static_cast<double>(work.tokens);
    ++steps_;
  }

  Plan plan() {
    const auto n = static_cast<double>(steps_);
    Plan plan{.layout = layout_, .stages = {}};
    plan.step_s = seconds_ / n;
    plan.micro_batches = micro_batches_ / n;
    plan.tokens = tokens_ / n;
    plan.bubble = bubble_ / n;
    const int64_t process = input_.machine->process_bytes + input_.data_bytes;
    for (size_t rank = 0; rank < players_.size(); ++rank) {
      RankPlayer& player = *players_[rank];
      for (size_t axis = 0; axis < kAxisNames.size(); ++axis) {
        const Traffic& traffic = player.run().traffic()[axis];
        AxisTraffic& most = plan.traffic[axis];
        // What was played, for all micro-batches; sums of gradients come once a step.
        const double factor = axis == static_cast<size_t>(Axis::kData) ? 1 / n : scale_ / n / n;
        most.bytes = std::max(most.bytes, static_cast<double>(traffic.bytes) * factor);
        most.messages = std::max(most.messages, static_cast<double>(traffic.messages) * factor);
        most.seconds = std::max(most.seconds, traffic.seconds * factor);
      }
      plan.stages.push_back({.stage = static_cast<int64_t>(rank),
                             .first_unit = static_cast<int64_t>(first_chunk_[rank].first),
                             .end_unit = static_cast<int64_t>(first_chunk_[rank].second),
                             .held = player.held(),
                             .activations = player.peak_activations(),
                             .process = process,
                             .peak_rss = process + player.resident_bytes(),
                             .busy_s = busy_[rank] / n});
    }
    return plan;
  }

 private:
  // Plays a rank's actions; adds their seconds to the costs of their chunks.
  double play(int rank, const pipeline::Schedule& schedule, const std::vector<PlayedBatch>& batches,
              int64_t tokens, std::vector<pipeline::ChunkCost>& costs) {
    const std::vector<int> own = schedule.chunks_of(rank);
    std::vector<PlayedAction> actions;
    for (const pipeline::Action& action : schedule.actions[static_cast<size_t>(rank)]) {
      if (pipeline::is_message(action.kind)) continue;
      const auto chunk = std::find(own.begin(), own.end(), action.chunk) - own.begin();
      actions.push_back({played_kind(action.kind), static_cast<size_t>(action.micro_batch),
                         static_cast<size_t>(chunk)});
    }
    const std::vector<double> seconds =
        players_[static_cast<size_t>(rank)]->step(batches, actions, tokens);
    double sum = 0;
    for (size_t i = 0; i < seconds.size(); ++i) {
      sum += seconds[i];
      pipeline::ChunkCost& cost = costs[static_cast<size_t>(own[actions[i].chunk])];
      switch (actions[i].kind) {
        case PlayedAction::Kind::kForward:
          cost.forward += seconds[i];
          break;
        case PlayedAction::Kind::kBackwardWeight:
          cost.backward_weight += seconds[i];
          break;
        default:
          cost.backward_input += seconds[i];
      }
    }
    busy_step_ = sum;
    return sum;
  }

  static std::vector<double> relative_sizes(const std::vector<PlayedBatch>& batches) {
    double mean = 0;
    for (const PlayedBatch& batch : batches) mean += static_cast<double>(batch.rows);
    mean /= static_cast<double>(batches.size());
    std::vector<double> sizes;
    for (const PlayedBatch& batch : batches)
      sizes.push_back(static_cast<double>(batch.rows) / mean);
    return sizes;
  }

  // Elements of tables that the first and the last stage hold.
  int64_t tied_numel() const {
    int64_t numel = 0;
    for (const nn::Param* param : units_.front().params) {
      if (param->spec.tie != nn::Tie::kOriginal) continue;
      int64_t n = 1;
      for (const int64_t size : param->local_shape()) n *= size;
      numel += n;
    }
    return numel;
  }
  // The sum of their gradients over the two stages.
  double tied_seconds() {
    if (layout_.schedule == "zbv" || tied_numel() == 0) return 0;  // zbv: both ends on one rank
    const int64_t share = layout_.zero >= 1 ? layout_.data_ranks() : 1;
    DryRun& run = players_.front()->run();
    const double before = run.seconds();
    run.communicate(Axis::kPp, LinkOp::kSend, 2 * 4 * tied_numel() / share, /*in_arena=*/true);
    return run.seconds() - before;
  }

  const PlanInput& input_;
  const std::vector<nn::UnitParams>& units_;
  parallel::Layout layout_;
  DryRunOptions options_;
  std::vector<std::pair<size_t, size_t>> first_chunk_;  // by rank
  std::vector<std::unique_ptr<RankPlayer>> players_;
  std::vector<double> busy_ = std::vector<double>(static_cast<size_t>(layout_.pp));
  double busy_step_ = 0, seconds_ = 0, bubble_ = 0, micro_batches_ = 0, tokens_ = 0, scale_ = 0;
  int64_t steps_ = 0;
};

}  // namespace

int64_t Plan::peak_rss() const {
  int64_t most = 0;
  for (const StagePlan& stage : stages) most = std::max(most, stage.peak_rss);
  return most;
}

int64_t ranks_per_host(const PlanInput& input, int64_t world) {
  const int64_t most = input.ranks_per_host > 0 ? input.ranks_per_host : input.machine->cores;
  return std::clamp<int64_t>(most, 1, world);
}

std::vector<StageChunks> stage_chunks(const std::vector<nn::UnitParams>& units,
                                      const parallel::Layout& layout) {
  const pipeline::Schedule shape = schedule_of(layout, 1);
  const std::vector<size_t> cuts = pipeline::cut_units(parallel::unit_costs(units), shape.chunks());
  std::vector<StageChunks> stages;
  for (int rank = 0; rank < shape.stages(); ++rank) {
    StageChunks& chunks = stages.emplace_back();
    for (const int chunk : shape.chunks_of(rank)) {
      const auto c = static_cast<size_t>(chunk);
      chunks.emplace_back(cuts[c], cuts[c + 1]);
    }
  }
  return stages;
}

const std::vector<nn::UnitParams>& units_of(const PlanInput& input,
                                            const parallel::Layout& layout) {
  return layout.pp > 1 && !input.stage_units.empty() ? input.stage_units : input.units;
}

Plan make_plan(const PlanInput& input, const parallel::Layout& layout) {
  Stages stages(input, layout);
  for (const StepWork& work : first_steps(input, layout)) stages.step(work);
  return stages.plan();
}

}  // namespace trireme::plan
