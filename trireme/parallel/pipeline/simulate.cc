#include "trireme/parallel/pipeline/simulate.h"

#include <algorithm>
#include <map>
#include <utility>

#include "trireme/base/error.h"
#include "trireme/parallel/pipeline/messages.h"
#include "trireme/parallel/pipeline/progress.h"
#include "trireme/parallel/pipeline/validate.h"

namespace trireme::parallel::pipeline {
namespace {

using enum ActionKind;

class Simulator {
 public:
  Simulator(const Schedule& schedule, const Costs& costs)
      : schedule_(schedule), costs_(costs), ranks_(schedule.actions.size()) {
    if (costs.chunks.size() > 1 && costs.chunks.size() != schedule.rank_of_chunk.size()) {
      throw input_error("costs of ", costs.chunks.size(), " chunks for a schedule of ",
                        schedule.chunks());
    }
    if (!costs.micro_batch_size.empty() &&
        costs.micro_batch_size.size() != static_cast<size_t>(schedule.micro_batches)) {
      throw input_error("sizes of ", costs.micro_batch_size.size(),
                        " micro-batches for a schedule of ", schedule.micro_batches);
    }
  }

  Simulation run() {
    progress(schedule_, [this](int rank, size_t index) { time(rank, index); });
    Simulation result;
    for (Rank& rank : ranks_) {
      result.ranks.push_back(std::move(rank.timed));
      result.busy.push_back(rank.busy);
      result.peak_activation.push_back(rank.peak);
      result.makespan = std::max(result.makespan, rank.now);
    }
    return result;
  }

 private:
  struct Rank {
    std::vector<TimedAction> timed;
    double now = 0;
    double busy = 0;
    double held = 0;
    double peak = 0;
  };

  ChunkCost cost_of(const Action& action) const {
    if (costs_.chunks.empty()) return {};
    return costs_.chunks[costs_.chunks.size() == 1 ? 0 : static_cast<size_t>(action.chunk)];
  }
  double size_of(const Action& action) const {
    return costs_.micro_batch_size.empty()
               ? 1.0
               : costs_.micro_batch_size[static_cast<size_t>(action.micro_batch)];
  }

  void time(int index_of_rank, size_t index) {
    Rank& rank = ranks_[static_cast<size_t>(index_of_rank)];
    const Action& action = schedule_.actions[static_cast<size_t>(index_of_rank)][index];
    TimedAction timed{action, rank.now, rank.now};
    if (is_send(action.kind)) {
      rank.now += costs_.send_overhead;
      double& line = line_free_[{index_of_rank, peer_of(schedule_, action)}];
      timed.start = std::max(rank.now, line);
      line = timed.start + size_of(action) * costs_.message_time;
      timed.end = line + costs_.message_latency;
    } else if (is_compute(action.kind)) {
      for (const Product& need : needs_of(schedule_, /*messages=*/true, action)) {
        timed.start = std::max(timed.start, made_.at(need));
        if (is_send(need.kind)) timed.start += costs_.recv_overhead;
      }
      const double duration = duration_of(action);
      timed.end = timed.start + duration;
      rank.busy += duration;
      rank.now = timed.end;
      hold(rank, action);
    }
    if (const auto product = product_of(action)) made_[*product] = timed.end;
    rank.timed.push_back(timed);
  }

  double duration_of(const Action& action) const {
    const ChunkCost cost = cost_of(action);
    const double size = size_of(action);
    switch (action.kind) {
      case kForward:
        return size * cost.forward;
      case kBackward:
        return size * (cost.backward_input + cost.backward_weight);
      case kBackwardInput:
        return size * cost.backward_input;
      default:
        return size * cost.backward_weight;
    }
  }

  void hold(Rank& rank, const Action& action) const {
    const ChunkCost cost = cost_of(action);
    const double size = size_of(action);
    const double working = action.kind == kForward ? 0 : size * cost.working;
    if (action.kind == kForward) rank.held += size * cost.activation;
    rank.peak = std::max(rank.peak, rank.held + working);
    if (action.kind == kBackward) rank.held -= size * cost.activation;
    if (action.kind == kBackwardInput) {
      rank.held -= size * (cost.activation - cost.kept_for_weight);
      rank.peak = std::max(rank.peak, rank.held);
    }
    if (action.kind == kBackwardWeight) rank.held -= size * cost.kept_for_weight;
  }

  const Schedule& schedule_;
  const Costs& costs_;
  std::vector<Rank> ranks_;
  std::map<Product, double> made_;                   // when it is there
  std::map<std::pair<int, int>, double> line_free_;  // from one rank to another
};

double busy_sum(const Simulation& simulation) {
  double sum = 0;
  for (const double busy : simulation.busy) sum += busy;
  return sum;
}

}  // namespace

double Simulation::bubble() const {
  const double all = makespan * static_cast<double>(ranks.size());
  return all > 0 ? 1 - busy_sum(*this) / all : 0;
}

double Simulation::own_span_bubble() const {
  double most = 0;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    double first = makespan, last = 0;
    for (const TimedAction& timed : ranks[rank]) {
      if (!is_compute(timed.action.kind)) continue;
      first = std::min(first, timed.start);
      last = std::max(last, timed.end);
    }
    if (last > first) most = std::max(most, 1 - busy[rank] / (last - first));
  }
  return most;
}

Simulation simulate(const Schedule& schedule, const Costs& costs) {
  validate(schedule);
  const Schedule complete = with_messages(schedule);
  validate(complete);
  return Simulator(complete, costs).run();
}

}  // namespace trireme::parallel::pipeline
