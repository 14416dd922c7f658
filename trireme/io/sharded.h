// Tensors over several safetensors files, by Hugging Face's conventions: one file
// `model.safetensors`, or `model-00001-of-0000N.safetensors` beside `model.safetensors.index.json`
// whose "weight_map" says which file holds which tensor.
//
//   const std::unique_ptr<TensorSource> tensors = open_tensors("exports/bert");
//   ShardedWriter writer("exports/bert", infos, {.max_shard_bytes = 1 << 30});
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "trireme/io/safetensors.h"

namespace trireme::io {

inline constexpr std::string_view kModelFile = "model.safetensors";
inline constexpr std::string_view kModelIndexFile = "model.safetensors.index.json";

// The folder's tensors as its index lists them; a tensor in a shard that the index does not name is
// no part of the model, as for transformers.
class ShardedSafetensors : public TensorSource {
 public:
  // Opens the index and every shard. Throws input_error: no well-formed index, a shard that is
  // missing, malformed, or not a plain file name (no path may lead out of the folder), a tensor
  // that is not in its shard.
  explicit ShardedSafetensors(const std::string& index_path);

  const std::string& path() const override { return path_; }                    // of the index
  const std::vector<TensorInfo>& tensors() const override { return tensors_; }  // as in the index
  const TensorInfo* find(std::string_view name) const override;
  TensorView view(std::string_view name) const override;

 private:
  struct Place {
    std::size_t tensor = 0;
    const SafetensorsFile* shard = nullptr;
  };

  const SafetensorsFile& open_shard(const std::string& file, const std::string& tensor);

  std::string path_;
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, Place> index_;                              // by tensor
  std::unordered_map<std::string, std::unique_ptr<SafetensorsFile>> shards_;  // by file name
};

// The tensors of `path`: a .safetensors file, an .index.json, or a folder with either (the single
// file first, as transformers takes it). input_error when there is none.
std::unique_ptr<TensorSource> open_tensors(const std::string& path);

struct ShardOptions {
  std::uint64_t max_shard_bytes =
      5'000'000'000;                             // tensors alone; a larger tensor has its own shard
  TensorMetadata metadata = {{"format", "pt"}};  // in every shard; transformers wants "format"
};

// Which tensors go into which file: filled in order, a new one when the next tensor does not fit.
struct Shard {
  std::string file;                  // "model.safetensors" when there is only one
  std::vector<std::size_t> tensors;  // indices
};
std::vector<Shard> plan_shards(std::span<const TensorInfo> tensors, std::uint64_t max_shard_bytes);

// Writes tensors into an existing folder as one file or, when they are more than max_shard_bytes,
// as shards and an index, streamed as SafetensorsWriter does. Every file is atomic by itself and
// the index comes last; the folder as a whole is the caller's matter (AtomicFolder).
class ShardedWriter {
 public:
  ShardedWriter(std::string folder, std::vector<TensorInfo> tensors, ShardOptions options = {});

  // As SafetensorsWriter::write: in the order declared, over all shards.
  void write(std::string_view name, std::span<const std::byte> bytes);
  void commit();

 private:
  void open_shard(std::size_t number);
  void write_index() const;

  std::string folder_;
  std::vector<TensorInfo> tensors_;
  ShardOptions options_;
  std::vector<Shard> shards_;
  std::unordered_map<std::string, std::size_t> shard_of_;  // by tensor
  std::size_t current_ = 0;
  std::unique_ptr<SafetensorsWriter> out_;
};

}  // namespace trireme::io
