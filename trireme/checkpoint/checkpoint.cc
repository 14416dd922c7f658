#include "trireme/checkpoint/checkpoint.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <optional>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/hash.h"
#include "trireme/io/atomic_folder.h"
#include "trireme/io/safetensors.h"
#include "trireme/parallel/shard_transfer.h"

namespace trireme::checkpoint {
namespace {

using parallel::Region;

constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kOptimizerFile = "optimizer.safetensors";

std::span<const std::byte> bytes_of(const at::Tensor& contiguous) {
  return {static_cast<const std::byte*>(contiguous.const_data_ptr()), contiguous.nbytes()};
}

// A flat tensor of a bucket, of which each rank may hold a part.
struct Flat {
  size_t bucket;
  TensorKind kind;
  at::Tensor own;
};

// In the order in which save() and load() move them: the model's, then the optimiser's by bucket.
std::vector<Flat> flats_of(const RunTensors& tensors) {
  std::vector<Flat> flats;
  const auto& buffers = tensors.engine.flat_buffers();
  for (size_t b = 0; b < buffers.size(); ++b) {
    flats.push_back({b, TensorKind::kMaster, buffers[b].master});
  }
  for (size_t b = 0; b < buffers.size(); ++b) {
    const optim::AdamW::Moments& moments = tensors.adamw.moments()[b];
    if (!moments.exp_avg.defined()) continue;  // frozen
    flats.push_back({b, TensorKind::kExpAvg, moments.exp_avg});
    flats.push_back({b, TensorKind::kExpAvgSq, moments.exp_avg_sq});
  }
  return flats;
}

std::string name_in_file(TensorKind kind, const Region& region) {
  return kind == TensorKind::kMaster ? region.name : cat(kind_name(kind), ".", region.name);
}

// Of one tensor in a file.
struct Item {
  TensorKind kind;
  const Region* region;  // in a whole bucket
};

std::vector<Item> items_of(const RunTensors& tensors, bool optimizer) {
  std::vector<Item> items;
  for (const Region& region : tensors.engine.whole_regions()) {
    if (!optimizer) {
      items.push_back({TensorKind::kMaster, &region});
    } else if (tensors.adamw.moments()[region.bucket].exp_avg.defined()) {
      items.push_back({TensorKind::kExpAvg, &region});
      items.push_back({TensorKind::kExpAvgSq, &region});
    }
  }
  return items;
}

parallel::ShardTransfer transfer(const RunTensors& tensors, const Flat& flat) {
  return {tensors.engine.group(), /*root=*/0,
          cat("checkpoint ", tensors.engine.flat_buffers()[flat.bucket].name)};
}

// Whole flat tensors on rank 0, one after the other in the order of flats_of(): the other ranks
// send them in that order whatever happens here.
class WholeFlats {
 public:
  explicit WholeFlats(const RunTensors& tensors) : tensors_(tensors), flats_(flats_of(tensors)) {}

  at::Tensor get(size_t bucket, TensorKind kind) {
    if (bucket != bucket_) held_.clear();
    bucket_ = bucket;
    while (!held_.contains(kind)) {
      const Flat& flat = flats_.at(next_);
      if (flat.bucket != bucket) throw run_error("checkpoint: buckets are read in order");
      held_[flat.kind] = receive();
    }
    return held_[kind];
  }
  // What was not asked for.
  void drain() {
    held_.clear();
    while (next_ < flats_.size()) receive();
  }

 private:
  at::Tensor receive() {
    const Flat& flat = flats_[next_++];
    if (!tensors_.engine.sharded()) return flat.own;
    return parallel::collect(flat.own, transfer(tensors_, flat));
  }

  const RunTensors& tensors_;
  std::vector<Flat> flats_;
  size_t next_ = 0;
  size_t bucket_ = static_cast<size_t>(-1);
  std::map<TensorKind, at::Tensor> held_;  // of bucket_
};

// One dtype throughout, so any order is aligned.
void write_tensors(const std::string& folder, const char* file, const std::vector<Item>& items,
                   WholeFlats& flats, Manifest& manifest) {
  std::vector<io::TensorInfo> infos;
  for (const Item& item : items) {
    infos.push_back({name_in_file(item.kind, *item.region), io::Dtype::kF32, item.region->shape()});
  }
  io::SafetensorsWriter writer(folder + "/" + file, infos, {{"format", "pt"}});
  for (size_t i = 0; i < items.size(); ++i) {
    const Region& region = *items[i].region;
    writer.write(infos[i].name, bytes_of(region.view(flats.get(region.bucket, items[i].kind))));
    manifest.tensors.push_back({items[i].kind, region.name, file, infos[i].name,
                                writer.offset_bytes(i),
                                std::string(io::dtype_name(io::Dtype::kF32)), region.shape(),
                                std::vector<int64_t>(region.shape().size(), 0), region.shape(),
                                region.flat_begin, region.flat_end});
  }
  writer.commit();
}

bool is_checkpoint(const std::string& folder) {
  return file_exists(folder + "/" + std::string(kManifestName));
}

// Finds a checkpoint's tensors for Regions of whole buckets.
class Reader {
 public:
  Reader(std::string folder, const Manifest& manifest) : folder_(std::move(folder)) {
    for (const TensorEntry& entry : manifest.tensors) entries_[{entry.kind, entry.name}] = &entry;
  }

  // Throws input_error when it is not there in the region's shape.
  std::span<const std::byte> bytes(TensorKind kind, const Region& region) {
    const auto found = entries_.find({kind, region.name});
    if (found == entries_.end()) {
      throw input_error(folder_, "/", kManifestName, ": no ", kind_name(kind), " of parameter ",
                        region.name, ": the checkpoint is of another model");
    }
    const TensorEntry& entry = *found->second;
    const io::SafetensorsFile& file =
        files_.try_emplace(entry.file, folder_ + "/" + entry.file).first->second;
    const std::string where = cat(file.path(), ": tensor '", entry.tensor, "'");
    if (entry.shape != region.shape()) {
      throw input_error(where, " has another shape than the model's parameter ", region.name,
                        ": the checkpoint is of another model");
    }
    const io::TensorView view = file.view(entry.tensor);
    const auto shape = std::vector<int64_t>(view.shape.begin(), view.shape.end());
    if (view.dtype != io::Dtype::kF32 || shape != region.shape()) {
      throw input_error(where, " is not what the manifest says: F32 in the parameter's shape");
    }
    return view.bytes;
  }

 private:
  std::string folder_;
  std::map<std::pair<TensorKind, std::string>, const TensorEntry*> entries_;
  std::map<std::string, io::SafetensorsFile> files_;
};

// The tensors of one kind in a bucket; what lies between them stays as it is.
void read_flat(Reader& reader, const RunTensors& tensors, const Flat& flat,
               const at::Tensor& whole) {
  for (const Region& region : tensors.engine.whole_regions()) {
    if (region.bucket != flat.bucket) continue;
    const std::span<const std::byte> bytes = reader.bytes(flat.kind, region);
    if (!bytes.empty()) std::memcpy(region.view(whole).data_ptr(), bytes.data(), bytes.size());
  }
}

}  // namespace

std::string step_folder_name(int64_t step) {
  char name[32];
  std::snprintf(name, sizeof(name), "step-%08lld", static_cast<long long>(step));
  return name;
}

namespace {

std::string save_from(WholeFlats& flats, const std::string& dir, const RunState& run,
                      const RunTensors& tensors,
                      const std::function<void(const std::string& folder)>& write_assets) {
  io::AtomicFolder folder(dir + "/" + step_folder_name(run.step), {.may_replace = is_checkpoint});
  const std::string& staging = folder.staging_path();
  Manifest manifest;
  manifest.run = run;
  write_tensors(staging, kModelFile, items_of(tensors, /*optimizer=*/false), flats, manifest);
  write_tensors(staging, kOptimizerFile, items_of(tensors, /*optimizer=*/true), flats, manifest);
  if (write_assets) write_assets(staging);
  for (const std::string& name : list_dir(staging)) {
    const MappedFile file(staging + "/" + name);
    manifest.files.push_back({name, file.size(), xxh3_hex(file.bytes())});
  }
  write_file_atomic(staging + "/" + std::string(kManifestName), dump_json(to_json(manifest), 1));
  folder.commit();
  return folder.path();
}

}  // namespace

std::string save(const std::string& dir, const RunState& run, const RunTensors& tensors,
                 const std::function<void(const std::string& folder)>& write_assets) {
  WholeFlats flats(tensors);
  try {
    std::string path = save_from(flats, dir, run, tensors, write_assets);
    flats.drain();
    return path;
  } catch (...) {
    flats.drain();  // the other ranks are sending
    throw;
  }
}

void contribute(const RunTensors& tensors) {
  if (!tensors.engine.sharded()) return;
  for (const Flat& flat : flats_of(tensors)) parallel::collect(flat.own, transfer(tensors, flat));
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

void check_fits(const std::string& folder, const Manifest& manifest, const RunTensors& tensors) {
  Reader reader(folder, manifest);
  for (const bool optimizer : {false, true}) {
    for (const Item& item : items_of(tensors, optimizer)) reader.bytes(item.kind, *item.region);
  }
  if (manifest.run.optimizer_steps < 0) {
    throw input_error(folder, "/", kManifestName, ": key 'optimizer_steps' is negative");
  }
}

void load(const std::string& folder, const Manifest& manifest, const RunTensors& tensors) {
  comm::Group& group = tensors.engine.group();
  const bool reads = group.rank() == 0;
  std::optional<Reader> reader;
  if (reads) {
    check_fits(folder, manifest, tensors);
    reader.emplace(folder, manifest);
  }
  for (const Flat& flat : flats_of(tensors)) {
    const parallel::ShardTransfer moved = transfer(tensors, flat);
    if (!tensors.engine.sharded()) {
      if (reads) read_flat(*reader, tensors, flat, flat.own);
      if (group.size() > 1) group.broadcast(flat.own, moved.root, moved.tag)->wait();
      continue;
    }
    at::Tensor whole;
    if (reads) {
      whole = at::zeros({flat.own.numel() * group.size()}, at::kFloat);
      read_flat(*reader, tensors, flat, whole);
    }
    parallel::distribute(whole, flat.own, moved);
  }
  tensors.adamw.set_steps(manifest.run.optimizer_steps);
  tensors.engine.sync_values();
}

}  // namespace trireme::checkpoint
