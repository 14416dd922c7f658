// Proves a schedule before it runs.
//
// A schedule that passes: does each micro-batch's forward, backward of the inputs and backward of
// the weights exactly once a chunk, in that order; adds a chunk's gradients in the order of the
// micro-batches, so that every schedule gives the same bits; sends each thing that another rank
// needs once, in the order in which that one receives (messages between two ranks match in the
// order of the calls); and ends: no rank waits for ever (progress.h says what waits for what).
#pragma once

#include <optional>
#include <string>

#include "trireme/parallel/pipeline/schedule.h"

namespace trireme::parallel::pipeline {

// What is wrong, and in which cell.
struct Fault {
  int rank = 0;
  int index = -1;  // in the rank's actions; -1: one that is not there
  std::string message;
};

struct ValidateOptions {
  // Activations that a rank may hold at once, in chunks and micro-batches; 0: any number.
  int max_held = 0;
};

// The first fault. Messages are looked at where the schedule has any (messages.h).
std::optional<Fault> find_fault(const Schedule& schedule, const ValidateOptions& options = {});

// Throws input_error: the schedule, the rank, the cell and what is wrong with it.
void validate(const Schedule& schedule, const ValidateOptions& options = {});

}  // namespace trireme::parallel::pipeline
