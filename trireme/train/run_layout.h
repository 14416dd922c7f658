// Which layout a run has: the keys of the table "parallel" made whole, and checked against the
// ranks, the model and its data.
#pragma once

#include "trireme/parallel/layout.h"
#include "trireme/tasks/task.h"
#include "trireme/train/config.h"

namespace trireme::train {

// The ranks of the run, and this one, which says what needs more than a line.
struct Ranks {
  int size = 1;
  int rank = 0;
};

// Throws input_error for a layout that cannot run, before anything is loaded; `where` says where a
// key was set (Schema::where), for the message.
parallel::Layout run_layout(const RunConfig& config, const Ranks& ranks, tasks::Task& task,
                            const parallel::Where& where);

}  // namespace trireme::train
