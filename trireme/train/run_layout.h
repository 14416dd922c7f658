// Which layout a run has: the keys of the table "parallel" made whole, and checked against the
// ranks, the model and its data.
#pragma once

#include "trireme/parallel/layout.h"
#include "trireme/tasks/task.h"
#include "trireme/train/config.h"

namespace trireme::train {

// Throws input_error for a layout that cannot run, before anything is loaded; `where` says where a
// key was set (Schema::where), for the message.
parallel::Layout run_layout(const RunConfig& config, int ranks, tasks::Task& task,
                            const parallel::Where& where);

}  // namespace trireme::train
