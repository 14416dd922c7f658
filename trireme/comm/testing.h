// Several ranks as threads of one process, over a HashStore: for parity tests. Speed, memory and
// faults need processes.
//
//   run_ranks(3, [](World& world) { ... EXPECT_EQ(...); });
#pragma once

#include <functional>

#include "trireme/comm/world.h"

namespace trireme::comm {

// Calls `f` on `n` threads, each with its own World (n = 1: a world of one, on the calling thread).
// When all have ended, rethrows the exception that was thrown first.
void run_ranks(int n, const std::function<void(World&)>& f, const WorldOptions& options = {});

}  // namespace trireme::comm
