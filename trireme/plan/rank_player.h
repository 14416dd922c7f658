// One rank of a layout, played: its units, its engine, the micro-batches of a step.
#pragma once

#include <memory>
#include <vector>

#include "trireme/plan/plan.h"
#include "trireme/plan/played_engine.h"
#include "trireme/plan/played_units.h"

namespace trireme::plan {

// The order in which a rank runs its micro-batches.
struct PlayedAction {
  enum class Kind { kForward, kBackward, kBackwardInput, kBackwardWeight };
  Kind kind = Kind::kForward;
  size_t micro_batch = 0;
  size_t chunk = 0;  // of this rank
};

class RankPlayer {
 public:
  // `chunks`: for each of the rank's chunks, its first unit and the one behind its last. The input
  // outlives it.
  RankPlayer(const PlanInput& input, const parallel::Layout& layout, const DryRunOptions& options,
             const std::vector<std::pair<size_t, size_t>>& chunks, bool first_rank);

  // Seconds of the actions, one a list's entry, as a step of the run does them.
  std::vector<double> step(const std::vector<PlayedBatch>& batches,
                           const std::vector<PlayedAction>& actions, int64_t global_tokens);
  // Of the step before: what came behind the last action (sums, norm, update).
  double update_s() const { return update_s_; }

  DryRun& run() { return run_; }
  HeldBytes held() const;
  // Most bytes of tensors within steps beyond what is held between them.
  int64_t peak_activations() const { return peak_activations_; }
  // Private memory and shared buffers, without the process's own.
  int64_t resident_bytes() { return run_.heap().resident_bytes() + run_.arena().system_bytes(); }

 private:
  struct Chunk {
    size_t begin, end;  // units
    std::unique_ptr<PlayedEngine> engine;
    std::vector<std::vector<Saved>> saved;  // [micro-batch][unit]
    std::vector<DryRun::Deferred> deferred;
  };
  void forward(Chunk& chunk, size_t micro_batch, const PlayedBatch& batch);
  void backward(Chunk& chunk, size_t micro_batch, const PlayedBatch& batch, bool weights_later);

  const PlanInput& input_;
  parallel::Layout layout_;
  DryRun run_;
  PlayedModel model_;
  std::vector<Block> group_blocks_;
  std::vector<Chunk> chunks_;
  Block batch_tensors_;
  double update_s_ = 0;
  int64_t held_heap_ = 0, peak_activations_ = 0;
};

}  // namespace trireme::plan
