// What this build is.
#pragma once

#include <string>

namespace trireme {

std::string version();  // "0.1.0"
std::string commit();   // twelve digits of the commit, "-dirty" behind it when files differed;
                        // "unknown" without git

}  // namespace trireme
