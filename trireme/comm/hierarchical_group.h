// A group over several hosts with the same number of ranks each: shared memory inside a host, a
// network group between the ranks of one place in their hosts. An all_reduce is a reduce_scatter in
// the host, all_reduces of the slices between hosts (every rank with its peers, so all of a host's
// links work), and an all_gather in the host, in chunks that overlap: a host sends
// 2 (H - 1) / H of the buffer instead of that times its ranks.
//
// The order of addition is: the ranks of a host, then the hosts; not that of a flat group.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "trireme/comm/group.h"

namespace trireme::comm {

class Liveness;

struct HierarchicalParts {
  std::string name = "world";           // in errors
  std::vector<int> ranks;               // the members' world ranks, ascending
  double timeout_s = 300;               // of an operation
  std::vector<std::vector<int>> hosts;  // the group's ranks (0 to size - 1) by host
  std::unique_ptr<Group> local;         // the ranks of this host, in order
  std::unique_ptr<Group> across;        // those of this rank's place in each host, by host
  std::unique_ptr<Group> flat;          // all: messages between hosts, all_to_all
  int64_t chunk_bytes = 8 << 20;        // of an all_reduce
};

// Whether the hosts have the same number of ranks each, and more than one.
bool is_hierarchy(const std::vector<std::vector<int>>& hosts);

// Operations are carried out by a thread of its own, in the order of the calls.
std::unique_ptr<Group> make_hierarchical_group(HierarchicalParts parts,
                                               std::shared_ptr<Liveness> liveness);

}  // namespace trireme::comm
