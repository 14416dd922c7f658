#include "trireme/io/hf_folder.h"

#include <utility>

#include "trireme/base/error.h"
#include "trireme/base/files.h"

namespace trireme::io {
namespace {

constexpr const char* kConfigFile = "config.json";

bool is_in(const std::string& name, const std::string& folder) {
  return file_exists(folder + "/" + name);
}

std::vector<std::string> present_tokenizer_files(const std::string& folder) {
  std::vector<std::string> names;
  for (const std::string& name : tokenizer_file_names()) {
    if (is_in(name, folder)) names.push_back(name);
  }
  return names;
}

void check_tokenizer(const std::string& folder) {
  if (is_in("tokenizer.json", folder) || is_in("vocab.txt", folder)) return;
  const bool vocab = is_in("vocab.json", folder);
  if (vocab && is_in("merges.txt", folder)) return;
  throw input_error(folder, ": no tokenizer in it: ",
                    vocab
                        ? "vocab.json is there but merges.txt is missing"
                        : "wanted is tokenizer.json, or vocab.txt, or vocab.json with merges.txt");
}

// Weights in a format that is not read here, or empty.
std::string foreign_weights(const std::string& folder) {
  for (const std::string& name : list_dir(folder)) {
    const std::string_view view = name;
    const bool foreign = view.ends_with(".bin") || view.ends_with(".pt") ||
                         view.ends_with(".pth") || view.ends_with(".h5") ||
                         view.ends_with(".msgpack");
    if (foreign && name != "training_args.bin") return name;
  }
  return {};
}

std::string without_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

AtomicFolderOptions folder_options(const HfWriteOptions& options) {
  AtomicFolderOptions out;
  if (options.replace) {
    out.may_replace = [](const std::string& path) { return is_in(kConfigFile, path); };
    out.advice =
        " and is no model folder (no config.json in it), so it is not replaced; choose "
        "another name";
  } else {
    out.advice = "; choose another name, or give --replace to replace a model folder";
  }
  return out;
}

}  // namespace

const std::vector<std::string>& tokenizer_file_names() {
  static const std::vector<std::string> names = {
      "tokenizer.json", "vocab.txt",  "tokenizer_config.json", "special_tokens_map.json",
      "vocab.json",     "merges.txt", "added_tokens.json"};
  return names;
}

HfFolder::HfFolder(const std::string& path) : path_(without_slash(path)) {
  if (!dir_exists(path_)) {
    if (file_exists(path_)) {
      throw input_error(path_, ": is a file; wanted is the model's folder, with config.json and ",
                        kModelFile, " in it");
    }
    throw input_error(path_, ": no such folder; a model is the path of a folder with config.json ",
                      "and ", kModelFile, " (models are not downloaded by name)");
  }
  if (!is_in(kConfigFile, path_)) {
    throw input_error(
        path_, ": no config.json in it",
        is_in("manifest.json", path_)
            ? "; it is a training checkpoint: make a model folder with `trireme export`"
            : "; a model folder has config.json, the weights and a tokenizer");
  }
  config_ = read_json_file(config_path());
  as_object(config_, config_path());
}

std::vector<std::string> HfFolder::tokenizer_files() const {
  return present_tokenizer_files(path_);
}

std::unique_ptr<TensorSource> HfFolder::open_tensors() const {
  if (!is_in(std::string(kModelFile), path_) && !is_in(std::string(kModelIndexFile), path_)) {
    const std::string foreign = foreign_weights(path_);
    throw input_error(
        path_, ": neither ", kModelFile, " nor ", kModelIndexFile, " is in it",
        foreign.empty() ? ""
                        : cat("; ", shown_name(foreign), " is, in a format that is not read: load ",
                              "it in Python with transformers' AutoModel.from_pretrained and ",
                              "save it with save_pretrained(safe_serialization=True)"));
  }
  return io::open_tensors(path_);
}

HfFolderWriter::HfFolderWriter(const std::string& path, const Json& config,
                               std::vector<TensorInfo> tensors, const HfWriteOptions& options)
    : folder_(path, folder_options(options)),
      tensors_(folder_.staging_path(), std::move(tensors), options.shards) {
  write_file(kConfigFile, dump_json(config, 2) + "\n");
}

void HfFolderWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  tensors_.write(name, bytes);
}

void HfFolderWriter::copy_tokenizer(const std::string& from_folder) {
  check_tokenizer(from_folder);
  for (const std::string& name : present_tokenizer_files(from_folder)) {
    write_file(name, read_file(from_folder + "/" + name));
  }
}

void HfFolderWriter::write_file(const std::string& name, std::string_view content) {
  write_file_atomic(folder_.staging_file(name), content);
}

void HfFolderWriter::commit() {
  tensors_.commit();
  folder_.commit();
}

}  // namespace trireme::io
