// The group of one rank: every operation is a copy at most, nothing can fail, no network.
#pragma once

#include <memory>

#include "trireme/comm/group.h"

namespace trireme::comm {

std::unique_ptr<Group> make_single_group();

}  // namespace trireme::comm
