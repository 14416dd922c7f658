// parallel::Engine as a dry run plays it: where parameters, gradients and optimiser state lie, and
// when buckets travel. Sizes are those of parallel/flat_layout.h over the very units.
//
//   PlayedEngine engine(run, units, {.zero = 1});
//   engine.begin_step(micro_batches, tokens);
//   ... engine.before_forward(u); ... engine.before_backward(u); ... engine.after_backward(u);
//   engine.end_micro_batch(); engine.finish_step(); engine.update();
#pragma once

#include <cstdint>
#include <vector>

#include "trireme/nn/param.h"
#include "trireme/parallel/flat_layout.h"
#include "trireme/plan/dry_run.h"

namespace trireme::plan {

struct PlayedEngineOptions {
  int64_t zero = 0;
  bool sequence_parallel = false;
  // Weights are read on this rank, a whole tensor at a time.
  bool loads_weights = false;
};

// What a rank holds between steps, in bytes.
struct HeldBytes {
  int64_t parameters = 0;  // values, and fp32 masters of them in bf16
  int64_t gradients = 0;
  int64_t optimizer = 0;  // AdamW's moments
  int64_t numel = 0;      // parameters of these units, of this rank's slices
};

class PlayedEngine {
 public:
  // `units`: the chunk's, with the slices of this rank. The run outlives it.
  PlayedEngine(DryRun& run, const std::vector<nn::UnitParams>& units,
               const PlayedEngineOptions& options);

  const HeldBytes& held() const { return held_; }

  // tokens: of the global batch.
  void begin_step(int64_t micro_batches, int64_t tokens);
  void before_forward(size_t unit);
  void after_forward(size_t unit);
  void before_backward(size_t unit);
  void after_backward(size_t unit);
  void end_micro_batch();
  void finish_step();
  // Norm, AdamW, gathering what others updated.
  void update();

 private:
  struct Bucket {
    int64_t numel = 0;  // padding included
    int64_t own = 0;
    int64_t sparse_numel = 0;  // of a table of which only touched rows travel
    int64_t sparse_rows = 0;
    int64_t sparse_columns = 0;
    std::vector<size_t> units;
    size_t open_units = 0;
    Block whole_grad, whole_value;
    int users = 0;  // of whole_value
    bool reduced = false;
  };

  bool sharded() const { return options_.zero >= 1 && shards_ > 1; }
  bool gathers() const { return options_.zero >= 3 && !joined_; }
  bool grads_come_and_go() const { return options_.zero >= 2; }
  void hold(Block block) { blocks_.push_back(std::move(block)); }
  void acquire(size_t unit);
  void release(size_t unit);
  void reduce(Bucket& bucket);
  void sum_sparse_rows(const Bucket& bucket);

  DryRun& run_;
  PlayedEngineOptions options_;
  int64_t shards_;
  bool joined_ = false;  // values lie in their owners' memory alone
  std::vector<Bucket> buckets_;
  std::vector<std::vector<size_t>> buckets_of_unit_;
  std::vector<bool> backward_reads_;  // by unit: its values
  std::vector<int64_t> cleared_;  // by unit: elements of tables that gradients are scattered into
  std::vector<Block> blocks_;
  std::vector<size_t> under_way_;
  HeldBytes held_;
  int64_t partial_ = 0;  // elements whose gradients are parts on each tp rank
  int64_t micro_batches_ = 1, micro_batch_ = 0, tokens_ = 0;
};

}  // namespace trireme::plan
