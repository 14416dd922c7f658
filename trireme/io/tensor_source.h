// What is known of tensors in files, and TensorSource: named tensors in one file or many.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trireme/io/dtype.h"

namespace trireme::io {

struct TensorInfo {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<std::int64_t> shape;  // empty: a scalar, one element

  bool operator==(const TensorInfo&) const = default;
};

// Bytes of a tensor of that type and shape; nothing when a dim is negative, the product (taken left
// to right, in bits) does not fit 64 bits, or 4- and 6-bit elements end inside a byte.
std::optional<std::uint64_t> tensor_bytes(Dtype dtype, std::span<const std::int64_t> shape);

// The same for a tensor that we are about to write: what is wrong is a run_error that names it.
std::uint64_t checked_tensor_bytes(const TensorInfo& info);

// A tensor's elements in place: row-major, little-endian, in a mapped file. Aligned to the element
// in files written largest element first (ours, and the official writer's), to nothing in general:
// copy with memcpy. Lives as long as the source.
struct TensorView {
  Dtype dtype = Dtype::kF32;
  std::span<const std::int64_t> shape;
  std::span<const std::byte> bytes;
};

// Named tensors that can be read.
class TensorSource {
 public:
  virtual ~TensorSource() = default;

  // What the messages call it: the file, or the folder of shards.
  virtual const std::string& path() const = 0;

  // All of them, names unique; for a single file in the order of their bytes.
  virtual const std::vector<TensorInfo>& tensors() const = 0;

  // Null when there is no such tensor.
  virtual const TensorInfo* find(std::string_view name) const = 0;

  // Throws input_error with the nearest name when there is no such tensor.
  virtual TensorView view(std::string_view name) const = 0;
};

// "PATH: no tensor 'NAME'; did you mean 'NEAREST'?", for implementations of view().
[[noreturn]] void throw_no_such_tensor(const TensorSource& source, std::string_view name);

// A name from a file as messages show it: in single quotes, control characters escaped, cut when
// very long. A message stays one line whatever the file holds.
std::string shown_name(std::string_view name);

}  // namespace trireme::io
