// A flat tensor of which each rank has an equal part, whole on one rank: checkpoints and loading.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "trireme/comm/group.h"

namespace trireme::parallel {

struct ShardTransfer {
  comm::Group& group;
  int root = 0;
  std::string tag;
};

// Every rank's `own` [n], end to end in rank order on the root: [n * size]. Undefined on the
// others. Every rank calls it.
at::Tensor collect(const at::Tensor& own, const ShardTransfer& transfer);
// The other way: `own` [n] of every rank from the root's `whole` [n * size], which the others leave
// undefined.
void distribute(const at::Tensor& whole, at::Tensor own, const ShardTransfer& transfer);

}  // namespace trireme::parallel
