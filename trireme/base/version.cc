#include "trireme/base/version.h"

#include "build_info.h"

namespace trireme {

std::string version() {
  return TRIREME_VERSION;
}
std::string commit() {
  return TRIREME_COMMIT;
}

}  // namespace trireme
