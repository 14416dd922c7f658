#include "trireme/train/resume.h"

#include <algorithm>

#include "trireme/base/error.h"
#include "trireme/checkpoint/folder.h"
#include "trireme/train/config.h"
#include "trireme/train/rank_zero.h"

namespace trireme::train {
namespace {

// "data.samples" for the change of a JSON patch at /data/samples.
std::string name_of(const Json& change) {
  std::string name = change["path"].get<std::string>().substr(1);
  std::replace(name.begin(), name.end(), '/', '.');
  return name;
}

std::string read_on_rank_zero(const std::string& path, const Json& config, const Json& identity,
                              const checkpoint::RunTensors& tensors) {
  const checkpoint::Opened opened = checkpoint::open_for_resume(path);
  const checkpoint::RunState& run = opened.manifest.run;
  check_resumable(run.config, config, opened.path);
  if (const Json changes = Json::diff(run.identity, identity); !changes.empty()) {
    throw input_error(opened.path, " was saved with another ", name_of(changes[0]),
                      "; give data.train, the tokenizer and the model's config.json as they were");
  }
  checkpoint::check_fits(opened.path, opened.manifest, tensors);
  return dump_json({{"path", opened.path}, {"manifest", to_json(opened.manifest)}});
}

}  // namespace

Resumed resume(const std::string& path, const Json& config, const Json& identity,
               comm::Group& group, const checkpoint::RunTensors& tensors) {
  const Json message =
      parse_json(on_rank_zero(group, "resume",
                              [&] { return read_on_rank_zero(path, config, identity, tensors); }),
                 "resume");
  Resumed resumed;
  resumed.path = require_string(message, "path", "resume");
  const checkpoint::Manifest manifest =
      checkpoint::manifest_from_json(require(message, "manifest", "resume"), resumed.path);
  checkpoint::load(resumed.path, manifest, tensors);
  resumed.run = manifest.run;
  return resumed;
}

}  // namespace trireme::train
