// A Group as a process group of PyTorch, so that torch's own distributed code (c10d::Reducer, the
// functional collectives) runs over our backends, with their deadlines and culprits.
//
//   auto process_group = make_process_group(world->world_group());
//   c10d::Reducer reducer(params, buckets, process_group, ...);
//
// Has broadcast, allreduce (sum, avg, min, max), _allgather_base, _reduce_scatter_base,
// alltoall_base (equal parts), send, recv and barrier, of one contiguous CPU tensor each; anything
// else throws c10d's "does not support". Messages between two ranks match by their order, not by
// their tag. A Work's wait() throws the Error that the group's would; its timeout is the group's.
#pragma once

#include <c10/util/intrusive_ptr.h>

#include "trireme/comm/group.h"

namespace c10d {
class ProcessGroup;
}

namespace trireme::comm {

// The group must outlive it. Calls come from one thread, as a Group's do, and none to the group
// itself meanwhile.
c10::intrusive_ptr<c10d::ProcessGroup> make_process_group(Group& group);

}  // namespace trireme::comm
