// The least that an all-reduce in shared memory can do: meet, add this rank's slice of everyone's
// floats and write it to everyone, meet. No queue, no deadline, no record: a yardstick for
// `trireme bench allreduce`.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "trireme/comm/shm_layout.h"

namespace trireme::comm {

class Group;
class ShmHost;

class PlainLoop {
 public:
  // Floats of this rank, which all ranks of the group reach: those of this host. All of them call
  // it.
  PlainLoop(ShmHost& host, Group& group, int64_t pool_numel);

  float* pool() { return pools_[static_cast<size_t>(rank_)]; }
  // pool()[offset, offset + n) becomes the sum over the ranks, on all of them. Waits without end.
  void all_reduce(int64_t offset, int64_t n);

 private:
  void meet();

  int rank_;
  at::Tensor memory_;
  std::vector<float*> pools_;
  std::vector<shm::Counter*> counters_;
  uint64_t meetings_ = 0;
};

}  // namespace trireme::comm
