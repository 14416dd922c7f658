// manifest.json: what a checkpoint holds, tensor by tensor, and everything else that a run needs to
// go on: step, data cursor, seed, configuration, loss log.
//
// Tensors are described by Regions (parallel/region.h) and a place in a file; the layout of the run
// that wrote them appears nowhere. A sharded form has more entries and files, in the same format.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trireme/base/json.h"
#include "trireme/data/order.h"

namespace trireme::checkpoint {

inline constexpr std::string_view kManifestName = "manifest.json";
inline constexpr int64_t kFormatVersion = 1;

// What the elements are.
enum class TensorKind {
  kMaster,    // fp32 parameters, under their Hugging Face names in model.safetensors
  kExpAvg,    // AdamW's first moment
  kExpAvgSq,  // and second
};

struct TensorEntry {
  TensorKind kind = TensorKind::kMaster;
  std::string name;            // the parameter's
  std::string file;            // in the checkpoint's folder
  std::string tensor;          // its name in the file
  uint64_t offset_bytes = 0;   // where it begins in the file
  std::string dtype;           // "F32"
  std::vector<int64_t> shape;  // global
  std::vector<int64_t> box_begin, box_shape;
  int64_t flat_begin = 0, flat_end = 0;  // of the box
};

struct FileEntry {
  std::string name;
  uint64_t bytes = 0;
  std::string xxh3;  // 64-bit XXH3 of the content, 16 hex digits
};

// A run between two steps, without its tensors.
struct RunState {
  int64_t step = 0;             // steps done
  int64_t optimizer_steps = 0;  // updates taken: the bias correction's exponent
  uint64_t seed = 0;
  data::DataCursor cursor;         // where the next step's batch begins
  Json identity = Json::object();  // of data and model, see Task::identity()
  Json config = Json::object();    // effective configuration
  Json metrics = Json::object();   // of an evaluation at this step; empty when there was none
  Json trainer = Json::object();   // the training loop's own (best score, patience)
  std::vector<double> losses;      // one a step, from the first
};

struct Manifest {
  RunState run;
  std::vector<FileEntry> files;  // all but the manifest
  std::vector<TensorEntry> tensors;
  std::string trireme_version;

  // Null when there is none.
  const TensorEntry* find(TensorKind kind, std::string_view name) const;
};

std::string_view kind_name(TensorKind kind);

Json to_json(const Manifest& manifest);
// `where` opens the messages; input_error for what is missing, of a wrong type, or of a later
// format.
Manifest manifest_from_json(const Json& json, const std::string& where);

}  // namespace trireme::checkpoint
