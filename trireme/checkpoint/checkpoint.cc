#include "trireme/checkpoint/checkpoint.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/hash.h"
#include "trireme/io/atomic_folder.h"
#include "trireme/io/safetensors.h"

namespace trireme::checkpoint {
namespace {

using parallel::Region;

constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kOptimizerFile = "optimizer.safetensors";

std::span<const std::byte> bytes_of(const at::Tensor& contiguous) {
  return {static_cast<const std::byte*>(contiguous.const_data_ptr()), contiguous.nbytes()};
}

// What one file holds: a tensor's bytes and how the manifest calls it.
struct Item {
  TensorKind kind;
  const Region* region;
  std::string tensor;  // name in the file
  at::Tensor flat;     // of the region's bucket
};

std::vector<Item> model_items(const RunTensors& tensors) {
  std::vector<Item> items;
  for (const Region& region : tensors.engine.regions()) {
    items.push_back({TensorKind::kMaster, &region, region.name,
                     tensors.engine.flat_buffers()[region.bucket].master});
  }
  return items;
}

std::vector<Item> optimizer_items(const RunTensors& tensors) {
  std::vector<Item> items;
  for (const Region& region : tensors.engine.regions()) {
    const optim::AdamW::Moments& moments = tensors.adamw.moments()[region.bucket];
    items.push_back({TensorKind::kExpAvg, &region, cat("exp_avg.", region.name), moments.exp_avg});
    items.push_back(
        {TensorKind::kExpAvgSq, &region, cat("exp_avg_sq.", region.name), moments.exp_avg_sq});
  }
  return items;
}

// One dtype throughout, so any order is aligned.
void write_tensors(const std::string& folder, const char* file, const std::vector<Item>& items,
                   Manifest& manifest) {
  std::vector<io::TensorInfo> infos;
  for (const Item& item : items) {
    infos.push_back({item.tensor, io::Dtype::kF32, item.region->shape});
  }
  io::SafetensorsWriter writer(folder + "/" + file, infos, {{"format", "pt"}});
  for (size_t i = 0; i < items.size(); ++i) {
    const Item& item = items[i];
    const Region& region = *item.region;
    writer.write(item.tensor, bytes_of(region.view(item.flat)));
    manifest.tensors.push_back({item.kind, region.name, file, item.tensor, writer.offset_bytes(i),
                                std::string(io::dtype_name(io::Dtype::kF32)), region.shape,
                                region.box_begin, region.box_shape, region.flat_begin,
                                region.flat_end});
  }
  writer.commit();
}

bool is_checkpoint(const std::string& folder) {
  return file_exists(folder + "/" + std::string(kManifestName));
}

void read_tensor(const io::SafetensorsFile& file, const TensorEntry& entry, const Region& region,
                 const at::Tensor& target) {
  const std::string where = cat(file.path(), ": tensor '", entry.tensor, "'");
  if (entry.shape != region.shape) {
    throw input_error(where, " has another shape than the model's parameter ", region.name,
                      ": the checkpoint is of another model");
  }
  const io::TensorView view = file.view(entry.tensor);
  const auto shape = std::vector<int64_t>(view.shape.begin(), view.shape.end());
  if (view.dtype != io::Dtype::kF32 || shape != region.shape) {
    throw input_error(where, " is not what the manifest says: F32 in the parameter's shape");
  }
  if (!view.bytes.empty()) std::memcpy(target.data_ptr(), view.bytes.data(), view.bytes.size());
}

void read_items(const std::string& folder, const Manifest& manifest,
                const std::vector<Item>& items) {
  if (items.empty()) return;
  std::map<std::string, io::SafetensorsFile> files;
  std::map<std::pair<TensorKind, std::string>, const TensorEntry*> entries;
  for (const TensorEntry& entry : manifest.tensors) entries[{entry.kind, entry.name}] = &entry;
  for (const Item& item : items) {
    const auto found = entries.find({item.kind, item.region->name});
    if (found == entries.end()) {
      throw input_error(folder, "/", kManifestName, ": no ", kind_name(item.kind), " of parameter ",
                        item.region->name, ": the checkpoint is of another model");
    }
    const TensorEntry& entry = *found->second;
    const auto file = files.try_emplace(entry.file, folder + "/" + entry.file).first;
    read_tensor(file->second, entry, *item.region, item.region->view(item.flat));
  }
}

}  // namespace

std::string step_folder_name(int64_t step) {
  char name[32];
  std::snprintf(name, sizeof(name), "step-%08lld", static_cast<long long>(step));
  return name;
}

std::string save(const std::string& dir, const RunState& run, const RunTensors& tensors,
                 const std::function<void(const std::string& folder)>& write_assets) {
  io::AtomicFolder folder(dir + "/" + step_folder_name(run.step), {.may_replace = is_checkpoint});
  const std::string& staging = folder.staging_path();
  Manifest manifest;
  manifest.run = run;
  write_tensors(staging, kModelFile, model_items(tensors), manifest);
  write_tensors(staging, kOptimizerFile, optimizer_items(tensors), manifest);
  if (write_assets) write_assets(staging);
  for (const std::string& name : list_dir(staging)) {
    const MappedFile file(staging + "/" + name);
    manifest.files.push_back({name, file.size(), xxh3_hex(file.bytes())});
  }
  write_file_atomic(staging + "/" + std::string(kManifestName), dump_json(to_json(manifest), 1));
  folder.commit();
  return folder.path();
}

Manifest open_verified(const std::string& folder) {
  const std::string path = folder + "/" + std::string(kManifestName);
  if (!dir_exists(folder)) throw input_error(folder, ": no such checkpoint folder");
  Manifest manifest = manifest_from_json(read_json_file(path), path);
  for (const FileEntry& entry : manifest.files) {
    const MappedFile file(folder + "/" + entry.name);
    if (file.size() != entry.bytes) {
      throw input_error(file.path(), ": ", file.size(), " bytes instead of ", entry.bytes,
                        ": the checkpoint is damaged");
    }
    if (xxh3_hex(file.bytes()) != entry.xxh3) {
      throw input_error(file.path(),
                        ": its content has changed since it was saved: the checkpoint "
                        "is damaged");
    }
  }
  return manifest;
}

void load(const std::string& folder, const Manifest& manifest, const RunTensors& tensors) {
  read_items(folder, manifest, model_items(tensors));
  read_items(folder, manifest, optimizer_items(tensors));
  if (manifest.run.optimizer_steps < 0) {
    throw input_error(folder, "/", kManifestName, ": key 'optimizer_steps' is negative");
  }
  tensors.adamw.set_steps(manifest.run.optimizer_steps);
  tensors.engine.sync_values();
}

}  // namespace trireme::checkpoint
