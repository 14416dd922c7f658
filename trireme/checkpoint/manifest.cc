#include "trireme/checkpoint/manifest.h"

#include <array>

#include "trireme/base/error.h"
#include "trireme/base/version.h"

namespace trireme::checkpoint {
namespace {

constexpr std::array<std::pair<TensorKind, std::string_view>, 3> kKinds = {{
    {TensorKind::kMaster, "master"},
    {TensorKind::kExpAvg, "exp_avg"},
    {TensorKind::kExpAvgSq, "exp_avg_sq"},
}};

TensorKind kind_from(const std::string& name, const std::string& where) {
  for (const auto& [kind, text] : kKinds) {
    if (text == name) return kind;
  }
  throw input_error(where, ": key 'kind': '", name, "' is not known");
}

std::vector<int64_t> ints(const Json& object, std::string_view key, const std::string& where) {
  std::vector<int64_t> values;
  for (const Json& value : require_array(object, key, where)) {
    values.push_back(as_int(value, cat(where, ": ", key)));
  }
  return values;
}

uint64_t require_size(const Json& object, std::string_view key, const std::string& where) {
  const int64_t value = require_int(object, key, where);
  if (value < 0) throw input_error(where, ": key '", key, "' is negative");
  return static_cast<uint64_t>(value);
}

Json entry_json(const TensorEntry& entry) {
  return {{"kind", kind_name(entry.kind)},
          {"name", entry.name},
          {"file", entry.file},
          {"tensor", entry.tensor},
          {"offset_bytes", entry.offset_bytes},
          {"dtype", entry.dtype},
          {"shape", entry.shape},
          {"box_begin", entry.box_begin},
          {"box_shape", entry.box_shape},
          {"flat_begin", entry.flat_begin},
          {"flat_end", entry.flat_end}};
}

TensorEntry entry_from(const Json& json, const std::string& where) {
  TensorEntry entry;
  entry.kind = kind_from(require_string(json, "kind", where), where);
  entry.name = require_string(json, "name", where);
  entry.file = require_string(json, "file", where);
  entry.tensor = require_string(json, "tensor", where);
  entry.offset_bytes = require_size(json, "offset_bytes", where);
  entry.dtype = require_string(json, "dtype", where);
  entry.shape = ints(json, "shape", where);
  entry.box_begin = ints(json, "box_begin", where);
  entry.box_shape = ints(json, "box_shape", where);
  entry.flat_begin = require_int(json, "flat_begin", where);
  entry.flat_end = require_int(json, "flat_end", where);
  return entry;
}

RunState run_from(const Json& json, const std::string& where) {
  RunState run;
  run.step = require_int(json, "step", where);
  run.optimizer_steps = require_int(json, "optimizer_steps", where);
  // A seed uses all 64 bits: written as text.
  try {
    run.seed = std::stoull(require_string(json, "seed", where));
  } catch (const std::logic_error&) {
    throw input_error(where, ": key 'seed' is not a number");
  }
  const Json& cursor = require_object(json, "cursor", where);
  run.cursor.epoch = require_int(cursor, "epoch", where);
  run.cursor.position = require_int(cursor, "position", where);
  run.cursor.samples_seen = require_int(cursor, "samples_seen", where);
  run.identity = require_object(json, "identity", where);
  run.config = require_object(json, "config", where);
  run.metrics = require_object(json, "metrics", where);
  run.trainer = require_object(json, "trainer", where);
  for (const Json& loss : require_array(json, "losses", where)) {
    run.losses.push_back(as_double(loss, cat(where, ": losses")));
  }
  return run;
}

}  // namespace

std::string_view kind_name(TensorKind kind) {
  for (const auto& [value, text] : kKinds) {
    if (value == kind) return text;
  }
  return "?";
}

const TensorEntry* Manifest::find(TensorKind kind, std::string_view name) const {
  for (const TensorEntry& entry : tensors) {
    if (entry.kind == kind && entry.name == name) return &entry;
  }
  return nullptr;
}

Json to_json(const Manifest& manifest) {
  const RunState& run = manifest.run;
  Json json = {{"format", "trireme checkpoint"},
               {"format_version", kFormatVersion},
               {"trireme_version", version()},
               {"trireme_commit", commit()},
               {"step", run.step},
               {"optimizer_steps", run.optimizer_steps},
               {"seed", std::to_string(run.seed)},
               {"cursor",
                {{"epoch", run.cursor.epoch},
                 {"position", run.cursor.position},
                 {"samples_seen", run.cursor.samples_seen}}},
               {"identity", run.identity},
               {"config", run.config},
               {"metrics", run.metrics},
               {"trainer", run.trainer},
               {"losses", run.losses},
               {"files", Json::array()},
               {"tensors", Json::array()}};
  for (const FileEntry& file : manifest.files) {
    json["files"].push_back({{"name", file.name}, {"bytes", file.bytes}, {"xxh3", file.xxh3}});
  }
  for (const TensorEntry& entry : manifest.tensors) json["tensors"].push_back(entry_json(entry));
  return json;
}

Manifest manifest_from_json(const Json& json, const std::string& where) {
  if (require_string(json, "format", where) != "trireme checkpoint") {
    throw input_error(where, ": not the manifest of a checkpoint");
  }
  const int64_t version = require_int(json, "format_version", where);
  if (version != kFormatVersion) {
    throw input_error(where, ": checkpoint format ", version, "; this build reads format ",
                      kFormatVersion);
  }
  Manifest manifest;
  manifest.trireme_version = require_string(json, "trireme_version", where);
  manifest.run = run_from(json, where);
  for (const Json& file : require_array(json, "files", where)) {
    manifest.files.push_back({require_string(file, "name", where),
                              require_size(file, "bytes", where),
                              require_string(file, "xxh3", where)});
  }
  for (const Json& entry : require_array(json, "tensors", where)) {
    manifest.tensors.push_back(entry_from(entry, where));
  }
  return manifest;
}

}  // namespace trireme::checkpoint
