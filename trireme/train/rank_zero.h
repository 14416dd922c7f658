// Work that rank 0 does for all.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "trireme/comm/group.h"

namespace trireme::train {

// Runs `f` on rank 0 while the others wait, and gives every rank what it returned. When `f` throws
// an Error, every rank throws it (same kind, same message), so that no rank waits for one that
// failed. `f` may take comm::kPatience times the group's deadline: a disk is slower than a network.
std::string on_rank_zero(comm::Group& group, std::string_view tag,
                         const std::function<std::string()>& f);

}  // namespace trireme::train
