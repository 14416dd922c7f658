// A model over pipeline, data, context and tensor parallel ranks at once: this rank's chunks of it,
// each with an engine and an optimiser, the groups in which they communicate, and a step's way
// through them. Trainer and loops of one's own stand on it.
//
//   nn::Chain chain;  chain.add(embeddings); ...                 // blocks of nn/ layers, in units
//   Hybrid model(*world, chain, layout, {.width = 768});         // layout.h: fitted, checked
//   model.init(seed);
//   for (...) {
//     // The samples of data rank model.data_rank() of model.data_ranks(), as micro-batches.
//     const double loss = model.run(micro_batches);               // gradients are summed by then
//     model.update({.lr = lr, .grad_factor = optim::clip_factor(model.grad_norm(), 1.0)});
//   }
//
// Invariants
//  - Every rank makes the same calls with as many micro-batches. Ranks of one data rank have the
//    same samples; with cp each its rows of them (nn/context_parallel.h).
//  - Losses are shares of the mean over the global batch: what run() returns adds up over all ranks
//    to that mean, and gradients do.
//  - The result does not depend on the layout, up to rounding; not at all on the schedule.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "trireme/comm/mesh.h"
#include "trireme/nn/chain.h"
#include "trireme/nn/tensor_parallel.h"
#include "trireme/optim/adamw.h"
#include "trireme/parallel/engine.h"
#include "trireme/parallel/layout.h"
#include "trireme/parallel/pipeline/executor.h"

namespace trireme::parallel {

struct HybridOptions {
  int64_t width = 0;  // columns of what units pass on; with stages
  at::ScalarType compute_dtype = at::kFloat;
  optim::AdamWOptions adamw = {};
  Unused unused = Unused::kError;
};

// What goes on in run().
enum class StepPhase { kForward, kBackward, kPipeline, kReduce };

class Hybrid {
 public:
  using MicroBatch = pipeline::MicroBatch;

  // A run of the chain's units that this rank holds.
  struct Chunk {
    int place = 0;              // in the order of the model
    size_t begin = 0, end = 0;  // units
    std::unique_ptr<Engine> engine;
    std::unique_ptr<optim::AdamW> adamw;
  };

  // The Params get their memory; `chain` outlives the model. Throws input_error when the layout
  // does not have the world's ranks.
  Hybrid(comm::World& world, const nn::Chain& chain, const Layout& layout,
         const HybridOptions& options);
  // A model that is no chain: data parallelism and ZeRO alone. MicroBatch::loss runs it, from an
  // undefined output.
  Hybrid(comm::World& world, const std::vector<nn::UnitParams>& units, const Layout& layout,
         const HybridOptions& options);
  ~Hybrid();
  Hybrid(const Hybrid&) = delete;
  Hybrid& operator=(const Hybrid&) = delete;

  const Layout& layout() const { return layout_; }
  comm::MeshGroups& groups() { return groups_; }
  // Which part of the samples is this rank's; ranks of one context-parallel group have one part.
  int data_rank() const { return groups_.here().dp; }
  int data_ranks() const { return static_cast<int>(layout_.dp); }
  // For nn::Context::tp; null without tensor parallelism.
  const nn::TensorParallel* tp() const { return tp_ ? &*tp_ : nullptr; }
  // Of a loss that several ranks have alike one counts it.
  bool speaks() const { return groups_.here().tp == 0; }
  // Rows of activations on this rank, of a batch that has so many on this context-parallel rank.
  int64_t own_rows(int64_t rows) const;

  // In the order of the model.
  const std::vector<Chunk>& chunks() const { return chunks_; }
  const std::vector<Engine*>& engines() const { return engines_; }

  // Masters and values from the seed.
  void init(uint64_t seed);

  // Forward and backward of the micro-batches, then the sum of gradients over the ranks. Returns
  // what this rank adds to the loss. The context's tp is set here; rows of 0 are those of its
  // tokens, and without a loss function the chain's output is the loss. `losses` gets, on ranks
  // that have them, each micro-batch's.
  double run(std::span<const MicroBatch> micro_batches, std::vector<double>* losses = nullptr);
  // The 2-norm of all gradients; after run().
  double grad_norm() const;
  // One update of masters and values.
  void update(const optim::StepOptions& step);

  // Forward without gradients while it lives: values are whole. Not while the model trains.
  class Inference {
   public:
    explicit Inference(Hybrid& model);
    // The chain's output on the context's inputs, rows `rows` on this rank: on the tensor-parallel
    // first rank of the last stage; undefined on the others. All ranks of a data rank's model call
    // it with the same batch.
    at::Tensor run(nn::Context& context);

   private:
    Hybrid& model_;
    std::list<WholeValues> whole_;
  };

  // Called when a phase of run() or update() begins.
  std::function<void(StepPhase)> on_phase = [](StepPhase) {};

 private:
  struct Pipeline;

  Hybrid(comm::World& world, const Layout& layout, const HybridOptions& options);
  void add_chunk(int place, size_t begin, size_t end, const std::vector<nn::UnitParams>& units);
  void make_pipeline(comm::World& world);
  double run_here(std::span<const MicroBatch> micro_batches, std::vector<double>& losses);

  Layout layout_;
  HybridOptions options_;
  comm::MeshGroups groups_;
  const nn::Chain* chain_ = nullptr;  // null: it is none
  std::optional<nn::TensorParallel> tp_;
  std::vector<Chunk> chunks_;
  std::vector<Engine*> engines_;
  std::unique_ptr<Pipeline> pipeline_;  // null: one stage
};

}  // namespace trireme::parallel
