#include "trireme/parallel/pipeline/generators.h"

#include <algorithm>
#include <cmath>

#include "trireme/base/error.h"
#include "trireme/base/list_text.h"
#include "trireme/base/text_distance.h"
#include "trireme/parallel/pipeline/simulate.h"

namespace trireme::parallel::pipeline {
namespace {

using enum ActionKind;

void check(std::string_view name, const ScheduleShape& shape) {
  if (shape.stages >= 1 && shape.micro_batches >= 1 && shape.chunks_per_stage >= 1) return;
  throw input_error("schedule ", name, ": ", shape.stages, " stages, ", shape.micro_batches,
                    " micro-batches and ", shape.chunks_per_stage,
                    " chunks a stage: each must be at least 1");
}

Schedule empty_schedule(std::string name, int stages, int micro_batches) {
  Schedule schedule{std::move(name), micro_batches, {}, {}};
  schedule.actions.resize(static_cast<size_t>(stages));
  return schedule;
}

// One chunk a rank.
Schedule plain_schedule(std::string name, int stages, int micro_batches) {
  Schedule schedule = empty_schedule(std::move(name), stages, micro_batches);
  for (int rank = 0; rank < stages; ++rank) schedule.rank_of_chunk.push_back(rank);
  return schedule;
}

// Appends actions of one chunk, each kind in the order of the micro-batches.
class ChunkActions {
 public:
  ChunkActions(std::vector<Action>& list, int chunk, int micro_batches)
      : list_(list), chunk_(chunk), micro_batches_(micro_batches) {}

  // The next of its kind; nothing when all were.
  void next(ActionKind kind) {
    int& next = next_[static_cast<size_t>(kind)];
    if (next < micro_batches_) list_.push_back({kind, next++, chunk_});
  }
  int done(ActionKind kind) const { return next_[static_cast<size_t>(kind)]; }
  bool all(ActionKind kind) const { return done(kind) == micro_batches_; }

 private:
  std::vector<Action>& list_;
  int chunk_;
  int micro_batches_;
  int next_[4] = {0, 0, 0, 0};
};

std::vector<Action>& list_of(Schedule& schedule, int rank) {
  return schedule.actions[static_cast<size_t>(rank)];
}

// A rank's order of (chunk, micro-batch): rounds of micro-batches go through one chunk after the
// other.
std::vector<Action> round_order(ActionKind kind, const std::vector<int>& chunks,
                                const std::vector<int>& rounds) {
  std::vector<Action> order;
  int begin = 0;
  for (const int size : rounds) {
    for (const int chunk : chunks) {
      for (int m = begin; m < begin + size; ++m) order.push_back({kind, m, chunk});
    }
    begin += size;
  }
  return order;
}

}  // namespace

const std::vector<std::string>& schedule_names() {
  static const std::vector<std::string> names = {"gpipe", "1f1b", "interleaved", "zb_h1", "zbv"};
  return names;
}

int chunks_per_stage(std::string_view name, const ScheduleShape& shape) {
  const auto& names = schedule_names();
  if (std::find(names.begin(), names.end(), name) == names.end()) {
    throw input_error("there is no schedule '", name, "'", did_you_mean(name, names),
                      " (schedules: ", list_text(names, names.size()), ")");
  }
  if (name == "interleaved") return shape.chunks_per_stage;
  return name == "zbv" ? 2 : 1;
}

Schedule make_schedule(std::string_view name, const ScheduleShape& shape) {
  const int chunks = chunks_per_stage(name, shape);
  check(name, shape);
  if (name == "gpipe") return gpipe(shape.stages, shape.micro_batches);
  if (name == "1f1b") return one_f_one_b(shape.stages, shape.micro_batches);
  if (name == "zb_h1") return zb_h1(shape.stages, shape.micro_batches);
  if (name == "zbv") return zbv(shape.stages, shape.micro_batches);
  return interleaved(shape.stages, chunks, shape.micro_batches);
}

Schedule gpipe(int stages, int micro_batches) {
  Schedule schedule = plain_schedule("gpipe", stages, micro_batches);
  for (int rank = 0; rank < stages; ++rank) {
    ChunkActions chunk(list_of(schedule, rank), rank, micro_batches);
    while (!chunk.all(kForward)) chunk.next(kForward);
    while (!chunk.all(kBackward)) chunk.next(kBackward);
  }
  return schedule;
}

Schedule one_f_one_b(int stages, int micro_batches) {
  Schedule schedule = plain_schedule("1f1b", stages, micro_batches);
  for (int rank = 0; rank < stages; ++rank) {
    ChunkActions chunk(list_of(schedule, rank), rank, micro_batches);
    for (int i = 0; i < stages - 1 - rank; ++i) chunk.next(kForward);
    while (!chunk.all(kBackward)) {
      chunk.next(kForward);
      chunk.next(kBackward);
    }
  }
  return schedule;
}

Schedule interleaved(int stages, int chunks_per_stage, int micro_batches) {
  Schedule schedule = empty_schedule("interleaved", stages, micro_batches);
  for (int chunk = 0; chunk < stages * chunks_per_stage; ++chunk) {
    schedule.rank_of_chunk.push_back(chunk % stages);
  }
  // Rounds of S, the rest dealt to them: a shorter round would leave ranks waiting.
  const int count = std::max(1, micro_batches / stages);
  std::vector<int> rounds;
  for (int i = 0; i < count; ++i) {
    rounds.push_back(micro_batches / count + (i < micro_batches % count ? 1 : 0));
  }
  for (int rank = 0; rank < stages; ++rank) {
    std::vector<int> chunks = schedule.chunks_of(rank);
    const std::vector<Action> forward = round_order(kForward, chunks, rounds);
    std::reverse(chunks.begin(), chunks.end());
    const std::vector<Action> backward = round_order(kBackward, chunks, rounds);
    // Until the first gradient is back: a round through all chunks but the last, and the way there
    // and back. With one chunk it is 1F1B.
    const int way = (stages - 1 - rank) * (chunks_per_stage > 1 ? 2 : 1);
    const int round = (chunks_per_stage - 1) * rounds[0];
    const auto warm_up = static_cast<size_t>(round) + static_cast<size_t>(way);
    std::vector<Action>& list = list_of(schedule, rank);
    for (size_t i = 0; i < std::min(warm_up, forward.size()); ++i) list.push_back(forward[i]);
    for (size_t i = 0; i < backward.size(); ++i) {
      if (warm_up + i < forward.size()) list.push_back(forward[warm_up + i]);
      list.push_back(backward[i]);
    }
  }
  return schedule;
}

Schedule zb_h1(int stages, int micro_batches) {
  Schedule schedule = plain_schedule("zb_h1", stages, micro_batches);
  for (int rank = 0; rank < stages; ++rank) {
    // 1F1B, where rank s keeps s micro-batches' weight gradients back: gradients reach the ranks
    // before sooner, and what was kept fills the end. It may hold what rank 0 holds anyway.
    ChunkActions chunk(list_of(schedule, rank), rank, micro_batches);
    for (int i = 0; i < stages - 1 - rank; ++i) chunk.next(kForward);
    while (!chunk.all(kBackwardInput)) {
      chunk.next(kForward);
      chunk.next(kBackwardInput);
      if (chunk.done(kBackwardInput) > rank) chunk.next(kBackwardWeight);
    }
    while (!chunk.all(kBackwardWeight)) chunk.next(kBackwardWeight);
  }
  return schedule;
}

Schedule zbv(int stages, int micro_batches) {
  Schedule schedule = empty_schedule("zbv", stages, micro_batches);
  const int last = 2 * stages - 1;
  for (int chunk = 0; chunk <= last; ++chunk) {
    schedule.rank_of_chunk.push_back(std::min(chunk, last - chunk));
  }
  for (int rank = 0; rank < stages; ++rank) {
    // Time slots of one action. Micro-batch 0 comes down the V at slot `rank` and back up at
    // 2 S - 1 - rank; its gradients follow a slot later each, from slot 2 S on, so the up chunk has
    // its first one at 2 S + rank. The slots between are filled with forwards, down until the up
    // chunk can begin, then both in turn, until 2 S activations are held. From then on a backward
    // must free what each forward takes: up chunk alone until the gradient is down, then both.
    ChunkActions down(list_of(schedule, rank), rank, micro_batches);
    ChunkActions up(list_of(schedule, rank), last - rank, micro_batches);
    const auto round = [](ChunkActions& chunk) {
      chunk.next(kForward);
      chunk.next(kBackwardInput);
      chunk.next(kBackwardWeight);
    };
    for (int slot = rank; slot < last - rank; ++slot) down.next(kForward);
    for (int i = 0; i < rank; ++i) {
      up.next(kForward);
      down.next(kForward);
    }
    for (int i = 0; i < stages - rank; ++i) round(up);
    while (!up.all(kForward) || !down.all(kForward)) {
      round(down);
      round(up);
    }
    // Nothing comes in any more: gradients first, in turn, weights where a rank would wait.
    while (!down.all(kBackwardInput) || !up.all(kBackwardInput)) {
      down.next(kBackwardInput);
      if (up.all(kBackwardInput)) {
        if (down.done(kBackwardWeight) < down.done(kBackwardInput)) down.next(kBackwardWeight);
      } else {
        up.next(kBackwardInput);
      }
    }
    while (!down.all(kBackwardWeight)) down.next(kBackwardWeight);
    while (!up.all(kBackwardWeight)) up.next(kBackwardWeight);
  }
  return schedule;
}

std::string few_micro_batches_warning(const Schedule& schedule) {
  if (schedule.micro_batches >= schedule.stages()) return "";
  const double bubble = simulate(schedule, {}).bubble();
  return cat(schedule.micro_batches, " micro-batch", schedule.micro_batches == 1 ? "" : "es",
             " over ", schedule.stages(), " pipeline stages (schedule ", schedule.name,
             "): each rank is idle ", std::lround(100 * bubble),
             " % of the time; give a step at least ", schedule.stages(),
             " micro-batches (smaller data.micro_batch_tokens or a larger global batch)");
}

}  // namespace trireme::parallel::pipeline
