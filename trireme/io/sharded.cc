#include "trireme/io/sharded.h"

#include <filesystem>
#include <map>
#include <utility>

#include "trireme/base/error.h"
#include "trireme/base/json.h"

namespace trireme::io {
namespace {

namespace fs = std::filesystem;

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

std::string shard_name(std::size_t number, std::size_t count) {
  // At least five digits each, as Hugging Face writes them.
  const auto digits = [](std::size_t n) {
    const std::string text = std::to_string(n);
    return std::string(text.size() < 5 ? 5 - text.size() : 0, '0') + text;
  };
  return cat("model-", digits(number), "-of-", digits(count), ".safetensors");
}

bool ends_with(const std::string& text, std::string_view end) {
  return std::string_view(text).ends_with(end);
}

}  // namespace

ShardedSafetensors::ShardedSafetensors(const std::string& index_path) : path_(index_path) {
  const Json json = read_json_file(path_);
  for (const auto& item : require_object(json, "weight_map", path_).items()) {
    const std::string here = cat(path_, ": weight_map: tensor ", shown_name(item.key()));
    const SafetensorsFile& shard = open_shard(as_string(item.value(), here), here);
    const TensorInfo* info = shard.find(item.key());
    if (info == nullptr) {
      throw input_error(here, " is not in its shard ", shard.path(),
                        "; the folder mixes files of different models or versions");
    }
    index_[item.key()] = {tensors_.size(), &shard};
    tensors_.push_back(*info);
  }
}

const SafetensorsFile& ShardedSafetensors::open_shard(const std::string& file,
                                                      const std::string& where) {
  std::unique_ptr<SafetensorsFile>& shard = shards_[file];
  if (shard) return *shard;
  if (!is_plain_file_name(file)) {
    throw input_error(where, " is said to be in ", shown_name(file),
                      "; a shard must be the name of a file in the same folder");
  }
  const std::string shard_path = (fs::path(path_).parent_path() / file).string();
  if (!file_exists(shard_path)) {
    throw input_error(where, " should be in the shard ", shard_path,
                      ", which is missing; copy it there or export the model again");
  }
  shard = std::make_unique<SafetensorsFile>(shard_path);
  return *shard;
}

const TensorInfo* ShardedSafetensors::find(std::string_view name) const {
  const auto found = index_.find(std::string(name));
  return found == index_.end() ? nullptr : &tensors_[found->second.tensor];
}

TensorView ShardedSafetensors::view(std::string_view name) const {
  const auto found = index_.find(std::string(name));
  if (found == index_.end()) throw_no_such_tensor(*this, name);
  return found->second.shard->view(name);
}

std::unique_ptr<TensorSource> open_tensors(const std::string& path) {
  if (!dir_exists(path)) {
    if (ends_with(path, ".index.json")) return std::make_unique<ShardedSafetensors>(path);
    return std::make_unique<SafetensorsFile>(path);
  }
  const std::string single = (fs::path(path) / kModelFile).string();
  if (file_exists(single)) return std::make_unique<SafetensorsFile>(single);
  const std::string index = (fs::path(path) / kModelIndexFile).string();
  if (file_exists(index)) return std::make_unique<ShardedSafetensors>(index);
  throw input_error(path, ": neither ", kModelFile, " nor ", kModelIndexFile, " is in it");
}

std::vector<Shard> plan_shards(std::span<const TensorInfo> tensors, std::uint64_t max_shard_bytes) {
  std::vector<Shard> shards(1);
  std::uint64_t used = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::uint64_t bytes = checked_tensor_bytes(tensors[i]);
    if (!shards.back().tensors.empty() &&
        (bytes > max_shard_bytes || used > max_shard_bytes - bytes)) {
      shards.emplace_back();
      used = 0;
    }
    shards.back().tensors.push_back(i);
    used += bytes;
  }
  for (std::size_t i = 0; i < shards.size(); ++i) {
    shards[i].file =
        shards.size() == 1 ? std::string(kModelFile) : shard_name(i + 1, shards.size());
  }
  return shards;
}

ShardedWriter::ShardedWriter(std::string folder, std::vector<TensorInfo> tensors,
                             ShardOptions options)
    : folder_(std::move(folder)),
      tensors_(std::move(tensors)),
      options_(std::move(options)),
      shards_(plan_shards(tensors_, options_.max_shard_bytes)) {
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    for (const std::size_t tensor : shards_[i].tensors) {
      if (!shard_of_.emplace(tensors_[tensor].name, i).second) {
        throw run_error(folder_, ": tensor ", shown_name(tensors_[tensor].name),
                        " is declared twice");
      }
    }
  }
  open_shard(0);
}

void ShardedWriter::open_shard(std::size_t number) {
  std::vector<TensorInfo> tensors;
  for (const std::size_t i : shards_[number].tensors) tensors.push_back(tensors_[i]);
  const std::string path = (fs::path(folder_) / shards_[number].file).string();
  out_ = std::make_unique<SafetensorsWriter>(path, std::move(tensors), options_.metadata);
  current_ = number;
}

void ShardedWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  const auto found = shard_of_.find(std::string(name));
  if (found == shard_of_.end()) {
    throw run_error(folder_, ": tensor ", shown_name(name), " was not declared");
  }
  if (found->second < current_) {
    throw run_error(folder_, ": bytes of tensor ", shown_name(name),
                    " came after its shard was full");
  }
  while (current_ < found->second) {
    out_->commit();
    open_shard(current_ + 1);
  }
  out_->write(name, bytes);
}

void ShardedWriter::commit() {
  out_->commit();
  while (current_ + 1 < shards_.size()) {  // shards of tensors without elements alone
    open_shard(current_ + 1);
    out_->commit();
  }
  if (shards_.size() > 1) write_index();
}

void ShardedWriter::write_index() const {
  std::uint64_t total_bytes = 0;
  std::map<std::string, std::string> files;  // sorted, as Hugging Face writes it
  for (const TensorInfo& info : tensors_) {
    total_bytes += checked_tensor_bytes(info);
    files[info.name] = shards_[shard_of_.at(info.name)].file;
  }
  const Json index = {{"metadata", {{"total_size", total_bytes}}}, {"weight_map", Json(files)}};
  write_file_atomic((fs::path(folder_) / kModelIndexFile).string(), dump_json(index, 2) + "\n");
}

}  // namespace trireme::io
