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

namespace trireme::checkpoint {
namespace {

using Entry = parallel::Holdings::Entry;
using Collected = parallel::Holdings::Collected;

constexpr const char* kModelFile = "model.safetensors";
constexpr const char* kOptimizerFile = "optimizer.safetensors";

std::span<const std::byte> bytes_of(const at::Tensor& contiguous) {
  return {static_cast<const std::byte*>(contiguous.const_data_ptr()), contiguous.nbytes()};
}

std::string name_in_file(TensorKind kind, const std::string& name) {
  return kind == TensorKind::kMaster ? name : cat(kind_name(kind), ".", name);
}

// One kind of flat tensor of an entry.
struct Flat {
  const Entry* entry;
  TensorKind kind;
};

// In the order in which ranks move them: the model's, then the optimiser's by entry.
std::vector<Flat> flats_of(const RunTensors& tensors) {
  std::vector<Flat> flats;
  for (const Entry& entry : tensors.holdings().entries()) {
    flats.push_back({&entry, TensorKind::kMaster});
  }
  for (const Entry& entry : tensors.holdings().entries()) {
    if (entry.frozen) continue;
    flats.push_back({&entry, TensorKind::kExpAvg});
    flats.push_back({&entry, TensorKind::kExpAvgSq});
  }
  return flats;
}

// Whole tensors on rank 0, in the order of flats_of(): the other ranks send in that order whatever
// happens here.
class WholeFlats {
 public:
  explicit WholeFlats(const RunTensors& tensors) : tensors_(tensors), flats_(flats_of(tensors)) {}

  const Collected& get(const Entry& entry, TensorKind kind) {
    if (&entry != entry_) held_.clear();
    entry_ = &entry;
    while (!held_.contains(kind)) {
      const Flat& flat = flats_.at(next_);
      Collected received = receive();
      if (flat.entry->copy) continue;
      if (flat.entry != &entry) throw run_error("checkpoint: buckets are read in order");
      held_[flat.kind] = std::move(received);
    }
    return held_[kind];
  }
  // What was not asked for.
  void drain() {
    held_.clear();
    while (next_ < flats_.size()) receive();
  }

 private:
  Collected receive() {
    const Flat& flat = flats_[next_++];
    return tensors_.holdings().collect(*flat.entry, tensors_.own(*flat.entry, flat.kind));
  }

  const RunTensors& tensors_;
  std::vector<Flat> flats_;
  size_t next_ = 0;
  const Entry* entry_ = nullptr;
  std::map<TensorKind, Collected> held_;  // of entry_
};

// Of one tensor in a file.
struct Item {
  TensorKind kind;
  const Entry* entry;
  size_t index;  // in the entry

  const parallel::Holdings::NamedTensor& tensor() const { return entry->tensors[index]; }
};

std::vector<Item> items_of(const RunTensors& tensors, bool optimizer) {
  std::vector<Item> items;
  for (const Entry& entry : tensors.holdings().entries()) {
    if (entry.copy || (optimizer && entry.frozen)) continue;
    for (size_t i = 0; i < entry.tensors.size(); ++i) {
      if (!optimizer) {
        items.push_back({TensorKind::kMaster, &entry, i});
      } else {
        items.push_back({TensorKind::kExpAvg, &entry, i});
        items.push_back({TensorKind::kExpAvgSq, &entry, i});
      }
    }
  }
  return items;
}

// One dtype throughout, so any order is aligned.
void write_tensors(const std::string& folder, const char* file, const std::vector<Item>& items,
                   WholeFlats& flats, Manifest& manifest) {
  std::vector<io::TensorInfo> infos;
  for (const Item& item : items) {
    infos.push_back(
        {name_in_file(item.kind, item.tensor().name), io::Dtype::kF32, item.tensor().shape});
  }
  io::SafetensorsWriter writer(folder + "/" + file, infos, {{"format", "pt"}});
  for (size_t i = 0; i < items.size(); ++i) {
    const parallel::Holdings::NamedTensor& tensor = items[i].tensor();
    const at::Tensor whole = flats.get(*items[i].entry, items[i].kind).tensor(items[i].index);
    writer.write(infos[i].name, bytes_of(whole));
    manifest.tensors.push_back({.kind = items[i].kind,
                                .name = tensor.name,
                                .file = file,
                                .tensor = infos[i].name,
                                .offset_bytes = writer.offset_bytes(i),
                                .dtype = std::string(io::dtype_name(io::Dtype::kF32)),
                                .shape = tensor.shape,
                                .box_begin = std::vector<int64_t>(tensor.shape.size(), 0),
                                .box_shape = tensor.shape,
                                .flat_begin = 0,
                                .flat_end = whole.numel()});
  }
  writer.commit();
}

bool is_checkpoint(const std::string& folder) {
  return file_exists(folder + "/" + std::string(kManifestName));
}

// Finds a checkpoint's tensors.
class Reader {
 public:
  Reader(std::string folder, const Manifest& manifest) : folder_(std::move(folder)) {
    for (const TensorEntry& entry : manifest.tensors) entries_[{entry.kind, entry.name}] = &entry;
  }

  // Throws input_error when it is not there in this shape.
  std::span<const std::byte> bytes(TensorKind kind, const std::string& name,
                                   const std::vector<int64_t>& shape) {
    const auto found = entries_.find({kind, name});
    if (found == entries_.end()) {
      throw input_error(folder_, "/", kManifestName, ": no ", kind_name(kind), " of parameter ",
                        name, ": the checkpoint is of another model");
    }
    const TensorEntry& entry = *found->second;
    const io::SafetensorsFile& file =
        files_.try_emplace(entry.file, folder_ + "/" + entry.file).first->second;
    const std::string where = cat(file.path(), ": tensor '", entry.tensor, "'");
    if (entry.shape != shape) {
      throw input_error(where, " has another shape than the model's parameter ", name,
                        ": the checkpoint is of another model");
    }
    const io::TensorView view = file.view(entry.tensor);
    if (view.dtype != io::Dtype::kF32 ||
        !std::equal(view.shape.begin(), view.shape.end(), shape.begin(), shape.end())) {
      throw input_error(where, " is not what the manifest says: F32 in the parameter's shape");
    }
    return view.bytes;
  }
  void read(TensorKind kind, const std::string& name, const at::Tensor& whole) {
    const std::span<const std::byte> from = bytes(kind, name, whole.sizes().vec());
    if (!from.empty()) std::memcpy(whole.data_ptr(), from.data(), from.size());
  }

 private:
  std::string folder_;
  std::map<std::pair<TensorKind, std::string>, const TensorEntry*> entries_;
  std::map<std::string, io::SafetensorsFile> files_;
};

std::vector<parallel::Chunk> engines_of(std::vector<RunChunk>& chunks) {
  std::sort(chunks.begin(), chunks.end(),
            [](const RunChunk& a, const RunChunk& b) { return a.place < b.place; });
  std::vector<parallel::Chunk> engines;
  for (const RunChunk& chunk : chunks) engines.push_back({chunk.engine, chunk.place});
  return engines;
}

}  // namespace

RunTensors::RunTensors(comm::Group& world, std::vector<RunChunk> chunks)
    : chunks_(std::move(chunks)), holdings_(world, engines_of(chunks_)) {}

RunTensors::RunTensors(parallel::Engine& engine, optim::AdamW& adamw)
    : RunTensors(engine.group(), {{&engine, &adamw}}) {}

at::Tensor RunTensors::own(const Entry& entry, TensorKind kind) const {
  if (!entry.chunk) return {};
  const RunChunk& chunk = chunks_[*entry.chunk];
  if (kind == TensorKind::kMaster) return chunk.engine->flat_buffers()[entry.bucket].master;
  const optim::AdamW::Moments& moments = chunk.adamw->moments()[entry.bucket];
  return kind == TensorKind::kExpAvg ? moments.exp_avg : moments.exp_avg_sq;
}

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
  WholeFlats(tensors).drain();
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
    for (const Item& item : items_of(tensors, optimizer)) {
      reader.bytes(item.kind, item.tensor().name, item.tensor().shape);
    }
  }
  if (manifest.run.optimizer_steps < 0) {
    throw input_error(folder, "/", kManifestName, ": key 'optimizer_steps' is negative");
  }
}

void load(const std::string& folder, const Manifest& manifest, const RunTensors& tensors) {
  std::optional<Reader> reader;
  if (tensors.holdings().on_root()) {
    check_fits(folder, manifest, tensors);
    reader.emplace(folder, manifest);
  }
  for (const Flat& flat : flats_of(tensors)) {
    tensors.holdings().deal(*flat.entry, tensors.own(*flat.entry, flat.kind),
                            [&](const std::string& name, const at::Tensor& whole) {
                              reader->read(flat.kind, name, whole);
                            });
  }
  for (const RunChunk& chunk : tensors.chunks()) {
    chunk.adamw->set_steps(manifest.run.optimizer_steps);
    chunk.engine->sync_values();
  }
}

}  // namespace trireme::checkpoint
