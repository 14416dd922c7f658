#include "trireme/base/report.h"

#include "trireme/base/files.h"
#include "trireme/base/version.h"

namespace trireme {

Json Report::to_json() const {
  Json out;
  out["command"] = command;
  out["version"] = version();
  out["commit"] = trireme::commit();
  out["config"] = config;
  out["world"] = world;
  out["metrics"] = metrics;
  out["timings"] = timings;
  return out;
}

void Report::write(const std::string& path) const {
  if (path.empty()) return;
  write_file_atomic(path, dump_json(to_json(), 1) + "\n");
}

}  // namespace trireme
