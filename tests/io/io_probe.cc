// Helper of the comparison with the official reader (tests/interop/test_safetensors.py).
//
//   trireme_io_probe list PATH...         one JSON object a line, of each file: its tensors with
//                                         the bytes in hex, or {"error": ...}
//   trireme_io_probe copy FROM TO         reads a file and writes it again, tensors in the
//                                         official writer's order
//   trireme_io_probe shard FROM TO BYTES  reads a file and writes a model folder, at most BYTES a
//                                         shard
// Exit code 2 when the last file was refused.
#include <iostream>
#include <string>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/base/json.h"
#include "trireme/io/hf_folder.h"

namespace trireme::io {
namespace {

std::string hex(std::span<const std::byte> bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const std::byte byte : bytes) {
    out += kDigits[std::to_integer<unsigned>(byte) >> 4];
    out += kDigits[std::to_integer<unsigned>(byte) & 15U];
  }
  return out;
}

int list(const std::string& path) {
  Json out = Json::object();
  int exit_code = 0;
  try {
    const auto source = open_tensors(path);
    out["tensors"] = Json::array();
    for (const TensorInfo& info : source->tensors()) {
      out["tensors"].push_back({{"name", info.name},
                                {"dtype", dtype_name(info.dtype)},
                                {"shape", info.shape},
                                {"bytes", hex(source->view(info.name).bytes)}});
    }
    if (const auto* file = dynamic_cast<const SafetensorsFile*>(source.get())) {
      out["metadata"] = file->metadata();
    }
  } catch (const Error& error) {
    out = {{"error", error.what()}};
    exit_code = error.exit_code();
  }
  std::cout << dump_json(out) << "\n";
  return exit_code;
}

template <class Writer>
void copy_tensors(const TensorSource& from, const std::vector<TensorInfo>& order, Writer& writer) {
  for (const TensorInfo& info : order) writer.write(info.name, from.view(info.name).bytes);
  writer.commit();
}

int run(const std::vector<std::string>& args) {
  if (args.size() >= 2 && args[0] == "list") {
    int exit_code = 0;
    for (std::size_t i = 1; i < args.size(); ++i) exit_code = list(args[i]);
    return exit_code;
  }
  if (args.size() == 3 && args[0] == "copy") {
    const SafetensorsFile from(args[1]);
    std::vector<TensorInfo> order = from.tensors();
    sort_for_file(order);
    SafetensorsWriter writer(args[2], order, from.metadata());
    copy_tensors(from, order, writer);
    return 0;
  }
  if (args.size() == 4 && args[0] == "shard") {
    const SafetensorsFile from(args[1]);
    HfFolderWriter writer(args[2], Json::object(), from.tensors(),
                          {.shards = {.max_shard_bytes = std::stoull(args[3])}});
    copy_tensors(from, from.tensors(), writer);
    return 0;
  }
  throw input_error("usage: trireme_io_probe list PATH... | copy FROM TO | shard FROM TO BYTES");
}

}  // namespace
}  // namespace trireme::io

int main(int argc, char** argv) {
  try {
    return trireme::io::run({argv + 1, argv + argc});
  } catch (const trireme::Error& error) {
    std::cerr << error.what() << "\n";
    return error.exit_code();
  }
}
