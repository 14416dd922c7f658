// Going on from a checkpoint.
#pragma once

#include <string>

#include "trireme/base/json.h"
#include "trireme/checkpoint/checkpoint.h"
#include "trireme/comm/group.h"

namespace trireme::train {

struct Resumed {
  std::string path;  // of the checkpoint
  checkpoint::RunState run;
};

// Fills every rank's tensors from `path` (a checkpoint, or a folder of them: the newest undamaged
// one). Rank 0 reads; the others get what it read, so that one copy decides. Throws input_error, on
// every rank, when there is none, or it is of another configuration (check_resumable), or of
// other data or another model (`identity` against RunState::identity).
Resumed resume(const std::string& path, const Json& config, const Json& identity,
               comm::Group& group, const checkpoint::RunTensors& tensors);

}  // namespace trireme::train
