// Data parallelism over flat buckets. The engine gives Params their storage, takes their gradients,
// and sums these over the ranks while backward goes on.
//
//   Engine engine(task.units(), world.world_group(), {.compute_dtype = at::kBFloat16});
//   engine.init(seed);
//   engine.begin_step(micro_batches);
//   for (...) { loss(batch).backward(); engine.end_micro_batch(); }
//   engine.finish_step();                    // gradients are sums over all ranks and micro-batches
//   adamw.step(...);                         // over engine.flat_buffers(); clears the gradients
//
// Invariants
//  - Every rank builds the same engine and calls begin_step with the same number of micro-batches.
//  - Param::ready() is the only trigger of communication: when the last Param of a bucket is ready
//    in a step's last micro-batch, its all-reduce begins. Inner micro-batches communicate nothing.
//  - Buckets are reduced in one order, the reverse of the units', on every rank: a bucket that is
//    full early waits for those before it. So a Param that a rank did not use cannot cross
//    collectives.
//  - Of a Param with sparse_grad only the rows that some rank touched are summed, in finish_step()
//    (sparse_rows.h); one with several uses (a tied weight) is dense.
//  - From a bucket's start to finish_step() nobody touches its gradients.
//  - Params outlive the engine; their values stay usable after it. Buckets' padding is zero always.
//
// Here at stage 0 every rank holds everything. What holds at any stage is said by Regions and
// FlatBuffers, and everything above this class (optimiser, norms, checkpoints) uses only these.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "trireme/comm/group.h"
#include "trireme/nn/param.h"
#include "trireme/nn/unit.h"
#include "trireme/optim/flat_buffer.h"
#include "trireme/parallel/region.h"
#include "trireme/parallel/sparse_rows.h"

namespace trireme::parallel {

// What finish_step() makes of Params that no micro-batch of the step used on this rank.
enum class Unused {
  kError,  // an error that names them
  kZero,   // their gradient from this rank is zero
};

struct EngineOptions {
  at::ScalarType compute_dtype = at::kFloat;  // float, or bfloat16 with fp32 masters
  Unused unused = Unused::kError;
  int64_t chunk_bytes = 25 << 20;  // a larger bucket is reduced in chunks of this size
};

class Engine final : public nn::GradSink, public nn::UnitHooks {
 public:
  // Allocates the buckets (zero) and points every Param's value and main_grad into them. `group`
  // must outlive the engine.
  Engine(const std::vector<nn::UnitParams>& units, comm::Group& group,
         const EngineOptions& options);
  ~Engine() override;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Initial masters from (seed, name, index in the tensor) alone, and the values from them.
  void init(uint64_t seed);
  // Values from masters: after masters were written (loading).
  void sync_values();
  // Rank `root`'s masters to everyone, then sync_values().
  void broadcast_masters(int root);

  void begin_step(int micro_batches);
  // After the backward of each micro-batch.
  void end_micro_batch();
  // Returns when all gradients are summed. Throws run_error for unused Params, or what
  // communication throws.
  void finish_step();
  // Forgets a step that failed halfway and clears the gradients.
  void abandon_step();

  const std::vector<Region>& regions() const { return regions_; }
  const std::vector<optim::FlatBuffer>& flat_buffers() const { return buffers_; }
  // A Param's fp32 master, in its shape: a view into its bucket. For loading weights.
  at::Tensor master(const nn::Param& param) const;
  // Parameters in all, each once.
  int64_t parameter_count() const;
  // Names of tensors whose gradient has a NaN or an infinity, `most` at most: to say why a step
  // failed.
  std::vector<std::string> non_finite_gradients(size_t most) const;

  void param_ready(nn::Param& param) override;

 private:
  struct Bucket {
    FlatLayout layout;
    std::vector<bool> ready;  // by slot, in this micro-batch
    std::vector<bool> used;   // by slot, in any micro-batch of this step
    size_t pending = 0;       // Params not ready in this micro-batch
    std::vector<comm::WorkPtr> works;
    std::vector<SparseRows> sparse;
  };
  struct Place {
    size_t bucket;
    size_t slot;
  };

  Place place_of(const nn::Param& param) const;
  void start_micro_batch();
  bool last_micro_batch() const { return micro_batch_ + 1 == micro_batches_; }
  // Starts the buckets that are next in order: full ones, or all of them.
  void launch(bool even_if_not_full);
  void all_reduce(Bucket& bucket, const at::Tensor& grad);
  void all_reduce_dense(Bucket& bucket, const at::Tensor& part);
  void check_used() const;

  comm::Group& group_;
  EngineOptions options_;
  std::vector<Bucket> buckets_;
  std::vector<optim::FlatBuffer> buffers_;  // by bucket
  std::vector<Region> regions_;
  std::unordered_map<const nn::Param*, Place> places_;
  bool in_step_ = false;
  int micro_batch_ = 0;
  int micro_batches_ = 0;
  size_t unlaunched_ = 0;  // buckets [0, unlaunched_) have not been started
};

}  // namespace trireme::parallel
