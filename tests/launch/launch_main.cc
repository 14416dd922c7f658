// launch_main RANKS RDZV COMMAND...: the launcher as a process. RDZV "-": none. TEST_NODES and
// TEST_NODE_RANK: several nodes.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "trireme/base/error.h"
#include "trireme/launch/launcher.h"

int main(int argc, char** argv) {
  trireme::launch::LaunchOptions options;
  options.ranks = std::stoi(argv[1]);
  options.rendezvous = std::string(argv[2]) == "-" ? "" : argv[2];
  options.command.assign(argv + 3, argv + argc);
  options.kill_after_s = 1;
  if (const char* nodes = std::getenv("TEST_NODES")) {
    options.nodes = std::stoi(nodes);
    options.node_rank = std::stoi(std::getenv("TEST_NODE_RANK"));
  }
  try {
    return trireme::launch::launch(options);
  } catch (const trireme::Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return e.exit_code();
  }
}
