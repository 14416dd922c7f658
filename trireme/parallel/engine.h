// One engine for data parallelism and ZeRO, over flat buckets. It gives Params their storage, takes
// their gradients, sums these over the ranks while backward goes on, and at stage 3 gathers values
// before they are used.
//
//   Engine engine(task.units(), world.world_group(), {.compute_dtype = at::kBFloat16});
//   engine.init(seed);
//   optim::AdamW adamw(engine.flat_buffers(), {});
//   engine.begin_step(micro_batches);
//   for (...) { loss(batch).backward(); engine.end_micro_batch(); }
//   engine.finish_step();       // gradients are sums over all ranks and micro-batches
//   adamw.step({.lr = lr, .grad_factor = clip_factor(grad_norm({&engine}), 1.0)});
//   engine.gather_updates();    // values that other ranks updated
//
// What each stage keeps on a rank is said in bucket.h. Everything above this class (optimiser,
// checkpoints) goes by Regions and FlatBuffers, which say what this rank holds.
//
// Invariants
//  - Every rank builds the same engine and calls begin_step with the same number of micro-batches.
//  - Buckets are reduced in one order, the reverse of the units', on every rank: a bucket that is
//    full early waits for those before it. So a Param that a rank did not use cannot cross
//    collectives. Below stage 3 a bucket is full when its last Param is ready(): the only trigger.
//    At stage 3, where gathers lie between, it is when backward of all its units has ended.
//  - At stages 0 and 1 gradients of micro-batches add up here, and the last one communicates. From
//    stage 2 on each micro-batch is reduced, and a whole bucket's gradient is there only from its
//    first gradient to its reduction; at most one that is under way and one that fills (and those
//    that several units share).
//  - At stage 3 values are there between the hooks of their unit, and in a WholeValues; otherwise
//    Param::value is undefined. Every rank runs the same units. Not so where values are joined
//    (EngineOptions): they are there always, in their owners' memory, and nothing is gathered.
//  - A rank's update of joined values comes after every rank's backward (which finish_step() takes
//    part in the reduction of), and gather_updates() ends when all have updated.
//  - At stage 0, of a Param with sparse_grad only the rows that some rank touched are summed, in
//    finish_step() (sparse_rows.h); one with several uses (a tied weight) is dense.
//  - From a bucket's start to finish_step() nobody touches its gradients.
//  - The ranks of a tensor-parallel group run the same micro-batches, each with its slices of the
//    Params that are cut; under sequence parallelism the shares that they have in the gradient of a
//    Param of kReplicatedPartialGrad are summed before its bucket is reduced.
//  - With a pipeline a rank has an engine a chunk; what is asked of all gradients at once is in
//    global_norm.h.
//  - Params outlive the engine; values that are there stay usable after it (below stage 3 all).
//    Buckets' padding is zero always.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "trireme/comm/group.h"
#include "trireme/nn/param.h"
#include "trireme/nn/unit.h"
#include "trireme/optim/flat_buffer.h"
#include "trireme/parallel/arrivals.h"
#include "trireme/parallel/bucket.h"
#include "trireme/parallel/gatherer.h"
#include "trireme/parallel/region.h"

namespace trireme::parallel {

// What finish_step() makes of Params that no micro-batch of the step used on this rank.
enum class Unused {
  kError,  // an error that names them
  kZero,   // their gradient from this rank is zero
};

struct EngineOptions {
  at::ScalarType compute_dtype = at::kFloat;  // float, or bfloat16 with fp32 masters
  int zero_stage = 0;                         // 0 to 3: what ranks share instead of copying
  Unused unused = Unused::kError;
  // Where the group's ranks share memory, from stage 1 on, they read each other's parts of the
  // values in place: nobody holds, or gathers, whole ones. false: as between hosts.
  bool join_values = true;
  int64_t chunk_bytes = 25 << 20;  // at stage 0 a larger bucket is reduced in chunks of this size
  // The ranks that hold the other slices of this rank's Params; null: nothing is cut.
  comm::Group* tp = nullptr;
  bool sequence_parallel = false;  // these ranks share the rows between the products too
  // The ranks that hold the rest of the model and see the same samples (pipeline stages x tensor
  // parallel); null: this rank's engines hold all of it.
  comm::Group* model = nullptr;
};

class Engine final : public nn::GradSink, public nn::UnitHooks {
 public:
  // Allocates the buckets (zero) and points every Param's value and main_grad into them. `group`
  // must outlive the engine. Throws input_error at stage 3 when a unit is not called through
  // nn::Unit.
  Engine(const std::vector<nn::UnitParams>& units, comm::Group& group,
         const EngineOptions& options);
  ~Engine() override;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Initial masters from (seed, name, index in the tensor) alone, and the values from them.
  void init(uint64_t seed);
  // Values from masters: after masters were written (loading). Every rank calls it.
  void sync_values();

  void begin_step(int micro_batches);
  // After the backward of each micro-batch.
  void end_micro_batch();
  // Returns when all gradients are summed. Throws run_error for unused Params, or what
  // communication throws.
  void finish_step();
  // Forgets a step that failed halfway, and its gradients.
  void abandon_step();
  // The gradients that this rank counts in the norm of all: flat, of this rank's part. Of what all
  // tensor-parallel ranks hold whole the first one's, of tied copies none.
  const std::vector<at::Tensor>& counted_gradients() const { return counted_gradients_; }
  // After the optimiser's update of flat_buffers(): whole values where they are kept. Every rank
  // calls it.
  void gather_updates();

  comm::Group& group() const { return group_; }
  const EngineOptions& options() const { return options_; }
  // Values lie in their owners' memory (EngineOptions::join_values).
  bool joined() const { return joined_; }
  // Ranks hold parts (stage 1 and up): flat_buffers() and regions() are of this rank's.
  bool sharded() const { return options_.zero_stage >= 1; }
  // Runs of named tensors that this rank holds, and where in flat_buffers().
  const std::vector<Region>& regions() const { return regions_; }
  // By bucket: this rank's part. `grad` is undefined where all is frozen.
  const std::vector<optim::FlatBuffer>& flat_buffers() const { return buffers_; }
  // Every named tensor, and where in an unsharded bucket: the parts of a data group end to end.
  const std::vector<Region>& whole_regions() const { return whole_regions_; }
  // The Param that the bucket is for alone, where one is tied over pipeline stages; null otherwise.
  const nn::Param* tied_param(size_t bucket) const;
  // Parameters of these units in all, each once.
  int64_t parameter_count() const;

  void grad_needed(nn::Param& param) override;
  void param_ready(nn::Param& param) override;
  void before_forward(const nn::UnitId& unit) override;
  void after_forward(const nn::UnitId& unit) override;
  void before_backward(const nn::UnitId& unit) override;
  void after_backward(const nn::UnitId& unit) override;

 private:
  friend class WholeValues;
  struct Place {
    size_t bucket;
    size_t slot;
  };

  bool reduces_every_micro_batch() const { return options_.zero_stage >= 2; }
  bool gathers() const { return options_.zero_stage >= 3 && !joined_; }
  Place place_of(const nn::Param& param) const;
  void map_units(const std::vector<nn::UnitParams>& units);
  size_t index_of(const nn::UnitId& unit) const;
  bool reduces_now() const {
    return reduces_every_micro_batch() || micro_batch_ + 1 == micro_batches_;
  }
  bool complete(size_t bucket) const;
  // Starts the buckets that are next in order: complete ones, or all of them.
  void launch(bool even_if_not_complete);
  void finish_under_way();
  void count_gradients();

  void wait_for_updates();

  comm::Group& group_;
  EngineOptions options_;
  bool joined_;
  std::vector<std::unique_ptr<Bucket>> buckets_;
  Arrivals arrivals_;                       // by bucket
  std::vector<optim::FlatBuffer> buffers_;  // by bucket
  std::vector<at::Tensor> counted_gradients_;
  std::vector<Region> whole_regions_, regions_;
  std::unordered_map<const nn::Param*, Place> places_;
  std::unordered_map<std::string, size_t> unit_index_;  // at stage 3, by name
  std::vector<std::vector<size_t>> unit_buckets_;       // at stage 3, by unit
  std::optional<Gatherer> gatherer_;                    // at stage 3
  bool in_step_ = false;
  int micro_batch_ = 0;
  int micro_batches_ = 0;
  size_t unlaunched_ = 0;          // buckets [0, unlaunched_) have not been started
  std::vector<size_t> under_way_;  // buckets whose reduction was started and not finished
};

// All values whole while it lives (at stage 3 at the price of their memory; below they are anyway):
// evaluation, where ranks may run units unequally, and export. Every rank makes one.
class WholeValues {
 public:
  explicit WholeValues(Engine& engine);
  ~WholeValues();
  WholeValues(const WholeValues&) = delete;
  WholeValues& operator=(const WholeValues&) = delete;

 private:
  Engine& engine_;
};

}  // namespace trireme::parallel
