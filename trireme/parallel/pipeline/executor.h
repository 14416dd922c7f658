// Runs a pipeline schedule: one executor a rank, over the chunks of the model that it holds.
//
//   Executor pipeline(task.chain(), parts, pp_group, {.width = hidden, .dtype = at::kBFloat16});
//   const StepLosses losses = pipeline.run_step(schedule, micro_batches);  // begins the engines'
//   step engine.finish_step();                                                  // of each chunk
//
// Invariants
//  - Every rank of the group runs the same schedule with the same number of micro-batches, and
//    knows the rows of each beforehand: nothing is announced by messages.
//  - Receives are posted where the schedule has them and awaited by the action that needs them;
//    sends are awaited when they are over, at the end of the step at the latest. Buffers are held
//    until then.
//  - Gradients are added in the order of the micro-batches (validate.h), and losses are summed so:
//    all schedules give the same bits.
//  - Backward is split by Param::weight_queue: B puts the weights' products off, W runs them.
//  - After an exception nothing of the step is left; the engines' step is abandoned. Peers that
//  wait
//    for this rank find out by the group's deadlines and its connections.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "trireme/comm/group.h"
#include "trireme/nn/chain.h"
#include "trireme/nn/context.h"
#include "trireme/nn/param.h"
#include "trireme/parallel/engine.h"
#include "trireme/parallel/pipeline/schedule.h"
#include "trireme/parallel/pipeline/simulate.h"

namespace trireme::parallel::pipeline {

// A chunk that this rank holds.
struct ChunkPart {
  int chunk = 0;
  size_t begin = 0, end = 0;  // its units of the chain
  // Of the chunk's Params, and of no other chunk's: micro-batches come to an engine in order.
  // Null: nobody hears of gradients (tests, evaluation).
  Engine* engine = nullptr;
};

struct MicroBatch {
  // With the inputs of the chain. The executor sets hooks to each chunk's engine.
  nn::Context context;
  int64_t rows = 0;  // of its activations on this rank
  // Its share of the loss, from the chain's output: asked on the rank of the last chunk.
  std::function<at::Tensor(const at::Tensor& output, const nn::Context& context)> loss = {};
};

struct ExecutorOptions {
  int64_t width = 0;                  // of the activations [rows, width] between chunks
  at::ScalarType dtype = at::kFloat;  // of them
};

// Of the rank of the last chunk; empty and 0 on the others.
struct StepLosses {
  std::vector<double> by_micro_batch;
  double sum = 0;
};

class Executor {
 public:
  // `group`: the ranks of the schedule, in its order. Chain, group and engines outlive the
  // executor.
  Executor(const nn::Chain& chain, const std::vector<ChunkPart>& parts, comm::Group& group,
           const ExecutorOptions& options);

  // Forward and backward of all micro-batches. Throws input_error for a schedule that is not valid
  // or not for this group, these parts and micro-batches; what forward, backward or communication
  // throws.
  StepLosses run_step(const Schedule& schedule, std::span<const MicroBatch> micro_batches);

  // Forward alone, without gradients: `on_output` gets the chain's output of each micro-batch, in
  // order, on the rank of the last chunk. rank_of_chunk: the schedules' placement.
  void run_forward(const std::vector<int>& rank_of_chunk, std::span<const MicroBatch> micro_batches,
                   const std::function<void(int micro_batch, const at::Tensor& output)>& on_output);

  // This rank's actions in the last run, in seconds of the host's steady clock; waiting lies
  // between them. timeline.h puts ranks together.
  const std::vector<TimedAction>& timeline() const { return timeline_; }

 private:
  // A micro-batch in a chunk.
  struct Slot {
    at::Tensor input;            // a leaf; of chunk 0 the graph's root
    at::Tensor output;           // with its graph; of the last chunk the loss
    at::Tensor output_gradient;  // what comes back
    at::Tensor input_gradient;   // what goes back to another rank
    comm::WorkPtr input_arrives, gradient_arrives;
    nn::WeightQueue weights;
  };
  struct Part {
    ChunkPart chunk;
    std::vector<nn::Param*> params;
  };
  struct Send {
    at::Tensor buffer;
    comm::WorkPtr work;
  };

  void check(const Schedule& schedule, size_t micro_batches) const;
  void run(const Schedule& schedule, std::span<const MicroBatch> micro_batches);
  void act(const Schedule& schedule, const Action& action, const MicroBatch& micro_batch);
  void forward(const Schedule& schedule, const Action& action, const MicroBatch& micro_batch);
  void backward(const Schedule& schedule, const Action& action);
  void weights(const Action& action);
  void end_micro_batch(const Part& part) const;
  void send(const Schedule& schedule, const Action& action);
  void receive(const Schedule& schedule, const Action& action, int64_t rows);
  // Lets go of what has been sent; `all`: waits for it.
  void finish_sends(bool all);
  void abandon();

  Part& part_of(int chunk);
  Slot& slot_of(const Action& action) { return slots_[{action.micro_batch, action.chunk}]; }
  bool here(const Schedule& schedule, int chunk) const;

  const nn::Chain& chain_;
  std::vector<Part> parts_;
  comm::Group& group_;
  ExecutorOptions options_;

  std::map<std::pair<int, int>, Slot> slots_;  // by micro-batch and chunk
  std::list<Send> sends_;
  std::vector<at::Tensor> losses_;  // by micro-batch
  std::vector<TimedAction> timeline_;
  const std::function<void(int, const at::Tensor&)>* on_output_ = nullptr;  // forward alone
};

}  // namespace trireme::parallel::pipeline
