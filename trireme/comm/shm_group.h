// Groups of ranks of one host, through shared memory. A tensor from Group::empty() lies in the
// arena: its peers read and write it in place. Others are staged.
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trireme/comm/group.h"

namespace c10d {
class Store;
}

namespace trireme::comm {

class Liveness;
class LocalPeers;

// This rank's side of the shared memory of its host: one a World, shared by its groups.
class ShmHost;
// All ranks of the host call it. `spin`: there is a core for each of them.
std::shared_ptr<ShmHost> make_shm_host(int rank, LocalPeers peers, bool spin);
// Bytes that this rank's buffers in shared memory take from the host.
uint64_t arena_bytes(const ShmHost& host);
// Where every rank's tensor lies, in the order of the group, whose ranks are all of this host; each
// calls it with a tensor from Group::empty().
std::vector<std::byte*> reach(ShmHost& host, Group& group, const at::Tensor& mine);

struct ShmGroupOptions {
  std::string name = "world";             // in errors
  std::vector<int> ranks;                 // the members' world ranks, ascending, all of one host
  c10::intrusive_ptr<c10d::Store> store;  // keys of this group alone
  double timeout_s = 300;                 // of an operation
  double connect_timeout_s = 60;          // of the start
};

// All of the group's ranks call it. Throws run_error when they do not in time.
std::unique_ptr<Group> make_shm_group(const ShmGroupOptions& options, std::shared_ptr<ShmHost> host,
                                      std::shared_ptr<Liveness> liveness);

}  // namespace trireme::comm
