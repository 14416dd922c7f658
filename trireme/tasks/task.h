// A task: what is learnt. It turns samples into packed batches, a batch into a loss, and a model
// into a score. The trainer knows nothing else of it.
//
// The loss of a step is the mean over the whole global batch, exactly: loss() divides its sums by
// counts of the global batch, which are known before forward, so losses and gradients of
// micro-batches and ranks simply add up.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "trireme/base/json.h"
#include "trireme/comm/world.h"
#include "trireme/data/packed_batch.h"
#include "trireme/nn/chain.h"
#include "trireme/nn/context.h"
#include "trireme/nn/param.h"
#include "trireme/tasks/evaluator.h"

namespace trireme::tasks {

// A sample of the data set and its place in the step's global batch.
struct SampleRef {
  int64_t index;    // in the training set
  int64_t ordinal;  // in the global batch
};

// Which draws a batch with random parts (masked LM) makes; dropout uses the same seed and step. A
// task may make other samples of its data in each epoch.
struct StepKey {
  uint64_t seed = 0;
  uint64_t step = 0;
  int64_t epoch = 0;
};

class ChainTask;

class Task {
 public:
  virtual ~Task() = default;

  virtual int64_t train_size() const = 0;                 // samples in an epoch
  virtual int64_t train_length(int64_t index) const = 0;  // tokens of a sample, >= 1

  // What must be the same for a run to go on where another stopped, besides configuration and
  // weights: an object of "data" (the training samples and labels by their hash) and "model" (what
  // its configuration came to).
  virtual Json identity() const = 0;

  // The samples as one packed batch with labels. No samples: 64 padding rows.
  virtual data::PackedBatch make_batch(std::span<const SampleRef> samples, StepKey key) const = 0;

  // Denominators of the loss over a global batch, one a loss term.
  virtual std::vector<int64_t> loss_counts(std::span<const SampleRef> global_batch,
                                           StepKey key) const = 0;

  // This batch's share of the global mean loss: fp32 scalar in the autograd graph.
  virtual at::Tensor loss(const data::PackedBatch& batch, nn::Context& context,
                          std::span<const int64_t> counts) = 0;

  // Scores the model on the development set; the work is shared out as the evaluator says, every
  // rank of the world gets the whole result. Keys are the task's (QA: em, f1, has_ans_f1,
  // no_ans_f1, ...). `metric()` names the one that "best" goes by.
  virtual Json evaluate(comm::World& world, Evaluator& evaluator) = 0;
  // Each rank with a whole model.
  Json evaluate(comm::World& world) {
    Evaluator evaluator(world);
    return evaluate(world, evaluator);
  }
  virtual std::string metric() const = 0;
  virtual bool metric_higher_is_better() const = 0;

  // Floating point operations of the matrix products of a token's forward and backward; 0: not
  // known.
  virtual double flops_per_token() const { return 0; }

  virtual std::vector<nn::UnitParams> units() = 0;
  // Writes what a model folder needs besides weights (config.json, tokenizer files) into an
  // existing folder, so that a checkpoint can be served and exported by itself.
  virtual void write_assets(const std::string& folder) const = 0;

  // This task, where its model is a chain of units: what tensor, context and pipeline parallelism
  // need. Null: it is none.
  virtual ChainTask* as_chain() { return nullptr; }
};

// A task whose model is a chain of units, so that its parts can run on several ranks.
class ChainTask : public Task {
 public:
  virtual const nn::Chain& chain() const = 0;
  // Of the model: its blocks that are alike, and the attention heads of each.
  virtual int64_t layers() const = 0;
  virtual int64_t heads() const = 0;
  // Columns of what units pass on, [rows, width].
  virtual int64_t width() const = 0;
  // Gives the context what the chain reads of the batch; its SeqInfo must live as long.
  virtual void set_inputs(const data::PackedBatch& batch, nn::Context& context,
                          std::span<const int64_t> counts) const = 0;
  // loss() from the chain's output.
  virtual at::Tensor loss_of(const at::Tensor& output, const data::PackedBatch& batch,
                             const nn::Context& context, std::span<const int64_t> counts) const = 0;

  std::vector<nn::UnitParams> units() final { return chain().units(); }
  at::Tensor loss(const data::PackedBatch& batch, nn::Context& context,
                  std::span<const int64_t> counts) final {
    set_inputs(batch, context, counts);
    return loss_of(chain()(context), batch, context, counts);
  }
  ChainTask* as_chain() final { return this; }
};

}  // namespace trireme::tasks
