// Model folders as Hugging Face's transformers reads and writes them: config.json, the weights in
// safetensors (one file or shards), and the tokenizer's files.
//
//   const HfFolder folder("models/bert-base-uncased");
//   const auto hidden = require_int(folder.config(), "hidden_size", folder.config_path());
//   const std::unique_ptr<TensorSource> weights = folder.open_tensors();
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "trireme/base/json.h"
#include "trireme/io/atomic_folder.h"
#include "trireme/io/sharded.h"

namespace trireme::io {

class HfFolder {
 public:
  // Reads config.json. Throws input_error: no such folder (with the difference between a folder and
  // a name on the hub told), no or broken config.json.
  explicit HfFolder(const std::string& path);

  const std::string& path() const { return path_; }
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }

  const Json& config() const { return config_; }
  // What messages about the config begin with; `where` of the require_* functions.
  std::string config_path() const { return file("config.json"); }

  // The tokenizer's files that are there, of those listed by tokenizer_file_names().
  std::vector<std::string> tokenizer_files() const;

  // model.safetensors, or the shards. Throws input_error: none there (a PyTorch .bin file is named,
  // with the command that converts it), or malformed.
  std::unique_ptr<TensorSource> open_tensors() const;

 private:
  std::string path_;
  Json config_;
};

// The files of a tokenizer: what is copied from folder to folder beside the model.
const std::vector<std::string>& tokenizer_file_names();

struct HfWriteOptions {
  // Take the place of an older model folder of that name (one with a config.json in it; any other
  // folder is left alone even so).
  bool replace = false;
  ShardOptions shards = {};
};

// Writes a whole model folder; nothing is seen under its name before commit(), and without it
// nothing stays.
//
//   HfFolderWriter writer("exports/bert", config, tensors);
//   for (const TensorInfo& info : tensors) writer.write(info.name, bytes_of(info));
//   writer.copy_tokenizer("models/bert-base-uncased");
//   writer.commit();
class HfFolderWriter {
 public:
  // Throws input_error when the name is taken, run_error when it cannot be written.
  HfFolderWriter(const std::string& path, const Json& config, std::vector<TensorInfo> tensors,
                 const HfWriteOptions& options = {});

  // The next bytes of a tensor, in the order declared: SafetensorsWriter::write.
  void write(std::string_view name, std::span<const std::byte> bytes);
  // Copies the tokenizer's files that are in the other folder; input_error that says which files
  // would do, unless a tokenizer can be made from them: tokenizer.json, or vocab.txt, or vocab.json
  // with merges.txt.
  void copy_tokenizer(const std::string& from_folder);
  // One more small file, e.g. generation_config.json.
  void write_file(const std::string& name, std::string_view content);
  void commit();

 private:
  AtomicFolder folder_;
  ShardedWriter tensors_;
};

}  // namespace trireme::io
