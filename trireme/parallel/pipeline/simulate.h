// How long a pipeline schedule takes, and what it holds, before anything runs.
//
//   Simulation s = simulate(make_schedule("1f1b", {4, 8}), {});   // F = 1, B = 1, W = 1
//   s.bubble();            // 3 / 11: (S - 1) / (M + S - 1)
//   s.peak_activation[0];  // 4
//
// Units are the caller's: seconds and bytes where they were measured.
#pragma once

#include <vector>

#include "trireme/parallel/pipeline/schedule.h"

namespace trireme::parallel::pipeline {

// What an action of a chunk costs for a micro-batch of size 1.
struct ChunkCost {
  double forward = 1;
  double backward_input = 1;
  double backward_weight = 1;  // BW takes both
  // Held from F until backward is over.
  double activation = 1;
  // Of a split backward: held from B to W. What B frees beyond that is free at once.
  double kept_for_weight = 1;
  // Held besides while B, BW or W of the chunk runs.
  double working = 0;
};

struct Costs {
  std::vector<ChunkCost> chunks{};         // by chunk; one: of every chunk; none: ChunkCost{}
  std::vector<double> micro_batch_size{};  // by micro-batch, factor on all of its costs; none: 1
  // Of a message between ranks: message_latency + size * message_time. Messages from one rank to
  // another go one after the other (the latency apart); computing goes on meanwhile.
  double message_latency = 0;
  double message_time = 0;
  // Where the ranks' cores carry the messages: what a send takes of the sender's time and a wait
  // for a message that is there of the receiver's.
  double send_overhead = 0;
  double recv_overhead = 0;
};

struct TimedAction {
  Action action;
  double start = 0;
  double end = 0;  // of a send: when the message is there; of a receive: when it is posted
};

struct Simulation {
  std::vector<std::vector<TimedAction>> ranks;  // in the schedule's order, messages included
  double makespan = 0;
  std::vector<double> busy;             // by rank: time spent in F, B, W
  std::vector<double> peak_activation;  // by rank

  // Share of all ranks' time, from the first action to the last of all, in which they do nothing.
  double bubble() const;
  // The same within each rank's own span, of the rank that has most: what is lost when a rank goes
  // on with the optimiser as soon as it is done (Qi et al.'s definition).
  double own_span_bubble() const;
};

// Puts messages in where there are none. Throws input_error for a schedule that is not valid
// (validate.h), or costs of another number of chunks or micro-batches.
Simulation simulate(const Schedule& schedule, const Costs& costs);

}  // namespace trireme::parallel::pipeline
