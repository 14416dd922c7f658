// A collective operation in shared memory, step by step: shm_protocol.h says when, this what is
// copied and combined.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <vector>

#include "trireme/comm/shm_arena.h"
#include "trireme/comm/shm_layout.h"
#include "trireme/comm/shm_protocol.h"
#include "trireme/comm/shm_runner.h"
#include "trireme/kernels/isa/ops_table.h"

namespace trireme::comm {

// What the tasks of one group share; outlives the group while tasks are held.
struct ShmGroupState {
  std::shared_ptr<ShmArena> arena;
  int rank = 0;            // in the group
  std::vector<int> ranks;  // world ranks
  std::vector<shm::Block*> blocks;
  std::vector<shm::Bell*> bells;  // the peers'; null for this rank
  uint64_t base = 0;              // steps of all finished collectives
  uint64_t half = 0;              // the staging half that comes next
  uint64_t collectives = 0;       // begun
  int64_t small_bytes = 0;        // up to this size: Form::kSmall

  int size() const { return static_cast<int>(ranks.size()); }
  shm::Block& mine() const { return *blocks[static_cast<size_t>(rank)]; }
  // Raises the counter of this rank to `value` and wakes who waits for it.
  void publish(shm::Counter& counter, uint64_t value, int only_peer = -1) const;
};

enum class ShmKind : int32_t {
  kAllReduce,
  kReduceScatter,
  kAllGather,
  kBroadcast,
  kAllToAll,
  kBarrier,
  kMessage,
};

struct ShmCall {
  ShmKind kind = ShmKind::kBarrier;
  c10::ScalarType dtype = c10::ScalarType::Byte;
  kernels::isa::Reduction op = kernels::isa::Reduction::kSum;
  int root = 0;  // kBroadcast; kMessage: the peer
  const std::byte* in = nullptr;
  std::byte* out = nullptr;  // may be `in`
  // Elements of `in` (kAllReduce, kBroadcast), or of one rank's part.
  int64_t numel = 0;
  struct {
    at::Tensor in, out;
  } keep;  // what the two lie in
};

// A peer is in another operation than this rank.
struct ShmMismatch : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class ShmCollective : public ShmTask {
 public:
  ShmCollective(std::shared_ptr<ShmGroupState> group, const ShmCall& call);
  Progress advance() override;

 private:
  bool peers_have_finished(int64_t steps) const;
  void post();
  void meet();  // step 1: what the others do
  void act(const shm::Step& step);
  void put(int64_t chunk);
  void take(int64_t chunk);
  void combine(int64_t chunk);
  void direct();

  bool pieces() const;  // `in` has a part for every rank
  shm::Range chunk_range(int64_t chunk) const;
  std::byte* stage(int rank, int64_t chunk) const;
  size_t bytes(int64_t elements) const { return static_cast<size_t>(elements * element_); }
  // Of the ranks' sources (in their order) into the destinations.
  void reduce(const std::vector<const void*>& from, const std::vector<void*>& to, int64_t n) const;
  void copy(std::byte* to, const std::byte* from, int64_t elements) const;

  std::shared_ptr<ShmGroupState> group_;
  ShmCall call_;
  int64_t element_;
  shm::Form form_;
  int64_t chunk_elements_ = 0;  // a chunk of numel
  int64_t chunks_ = 1;
  int64_t step_ = 0;
};

// How many bytes a call's post announces: the same on all ranks, or they are in different calls.
uint64_t announced_bytes(const ShmCall& call, int ranks);

// send() and recv(): the receiver copies from the sender's arena.
class ShmSend : public ShmTask {
 public:
  // `place` is where the values lie until it is over.
  ShmSend(std::shared_ptr<ShmGroupState> group, const ShmCall& call, ShmPlace place, uint64_t seq);
  Progress advance() override;

 private:
  std::shared_ptr<ShmGroupState> group_;
  ShmCall call_;
  ShmPlace place_;
  uint64_t seq_;  // from 1
  bool sent_ = false;
};

class ShmReceive : public ShmTask {
 public:
  ShmReceive(std::shared_ptr<ShmGroupState> group, const ShmCall& call, uint64_t seq);
  Progress advance() override;

 private:
  std::shared_ptr<ShmGroupState> group_;
  ShmCall call_;
  uint64_t seq_;
};

}  // namespace trireme::comm
