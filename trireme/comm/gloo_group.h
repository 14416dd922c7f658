// Groups over Gloo (TCP between hosts and on one host, CPU tensors). An operation works on a
// staging copy that it owns, so one that is given up cannot write into a caller's buffer; wait()
// copies the result out.
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <memory>
#include <string>
#include <vector>

#include "trireme/comm/group.h"

namespace c10d {
class Store;
}

namespace trireme::comm {

class GlooTransport;
class Liveness;

struct GlooGroupOptions {
  std::string name = "world";  // in errors
  std::vector<int> ranks;  // the members' world ranks, ascending; the world rank is `liveness`'s
  c10::intrusive_ptr<c10d::Store> store;  // keys of this group alone
  double timeout_s = 300;                 // of an operation
  double connect_timeout_s = 60;          // of the start
};

// Connects the group's ranks with each other; all of them call this. Throws run_error when they do
// not in time.
std::unique_ptr<Group> make_gloo_group(const GlooGroupOptions& options,
                                       std::shared_ptr<GlooTransport> transport,
                                       std::shared_ptr<Liveness> liveness);

}  // namespace trireme::comm
