// The safetensors format (github.com/huggingface/safetensors): 8 bytes with the header's length
// (little-endian), a JSON header, then the tensors' bytes, end to end.
//
//   const SafetensorsFile file("model.safetensors");
//   for (const TensorInfo& info : file.tensors()) use(info, file.view(info.name).bytes);
//
// What is read and refused is what the official reader (0.8) reads and refuses, except that these
// are refused here: a header that does not begin with '{' and a key that stands twice (the format
// forbids both), a tensor's description as an array and a dtype as an object (accidents of its
// JSON library), and a dim of 2^63 or more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "trireme/base/files.h"
#include "trireme/io/tensor_source.h"

namespace trireme::io {

// The format's own limit, against files that are no safetensors files at all.
inline constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;

// Free text by key, in the header's "__metadata__". {"format": "pt"} is what transformers wants.
using TensorMetadata = std::map<std::string, std::string>;

// A file's header, checked.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;     // in the order of their bytes
  std::vector<std::uint64_t> offsets;  // where each begins in the file
  TensorMetadata metadata;
};

// Reads and checks the header of a whole file in memory; `where` is its name in messages. Every
// fault is an input_error that names the place and the tensor.
SafetensorsHeader parse_safetensors(std::span<const std::byte> file, const std::string& where);

// A file, mapped: opening reads the header alone, pages come in when they are looked at.
class SafetensorsFile : public TensorSource {
 public:
  // Throws input_error: cannot be read, or not a well-formed safetensors file.
  explicit SafetensorsFile(const std::string& path);

  const std::string& path() const override { return file_.path(); }
  const std::vector<TensorInfo>& tensors() const override { return header_.tensors; }
  const TensorInfo* find(std::string_view name) const override;
  TensorView view(std::string_view name) const override;

  const TensorMetadata& metadata() const { return header_.metadata; }
  // Where the tensor's bytes begin in the file.
  std::uint64_t offset_bytes(std::string_view name) const;

 private:
  std::size_t index_of(std::string_view name) const;

  MappedFile file_;
  SafetensorsHeader header_;
  std::unordered_map<std::string, std::size_t> index_;  // by name
};

// The order of the official writer: largest element first, then by name. Every tensor is then
// aligned to its element.
void sort_for_file(std::vector<TensorInfo>& tensors);

// Writes a file as a stream: all tensors are declared first, then their bytes come in that order,
// each in as many pieces as the caller likes. Nothing is seen under `path` before commit(); without
// it nothing stays. The bytes equal the official writer's for the same order and at most one
// metadata entry (it writes more of them in random order).
//
//   SafetensorsWriter writer(path, {{"w", Dtype::kF32, {2, 3}}}, {{"format", "pt"}});
//   writer.write("w", std::as_bytes(std::span(values)));
//   writer.commit();
class SafetensorsWriter {
 public:
  // Throws run_error: a name twice or reserved ("__metadata__"), a shape without a size, a header
  // beyond kMaxHeaderBytes, a file that cannot be made.
  SafetensorsWriter(const std::string& path, std::vector<TensorInfo> tensors,
                    const TensorMetadata& metadata = {});
  ~SafetensorsWriter();
  SafetensorsWriter(SafetensorsWriter&&) noexcept;
  SafetensorsWriter& operator=(SafetensorsWriter&&) noexcept;

  // The next bytes of `name`, which must be the tensor begun or the next one; run_error otherwise,
  // or when they are more than its shape holds. Tensors without elements need no call.
  void write(std::string_view name, std::span<const std::byte> bytes);

  // fsync and rename. run_error when a tensor is not complete.
  void commit();

  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  // Where a tensor's bytes begin in the file, by its place in tensors().
  std::uint64_t offset_bytes(std::size_t index) const { return offsets_[index]; }

 private:
  std::uint64_t size_bytes(std::size_t index) const {
    return offsets_[index + 1] - offsets_[index];
  }

  std::string path_;
  std::vector<TensorInfo> tensors_;
  std::vector<std::uint64_t> offsets_;  // one more than tensors: the file's end
  std::size_t current_ = 0;
  std::uint64_t current_bytes_ = 0;  // of tensors_[current_] written so far
  std::unique_ptr<AtomicFile> out_;
};

}  // namespace trireme::io
