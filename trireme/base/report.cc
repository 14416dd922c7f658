#include "trireme/base/report.h"

#include <utility>

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

TimedSection::TimedSection(Report& report, std::string name, const Clock& clock)
    : report_(report), name_(std::move(name)), watch_(clock) {}

TimedSection::~TimedSection() {
  Json& seconds = report_.timings[name_];
  seconds = (seconds.is_number() ? seconds.get<double>() : 0.0) + watch_.seconds();
}

}  // namespace trireme
