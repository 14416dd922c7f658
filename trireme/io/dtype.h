// Element types of tensors in files: every name that the safetensors format has
// (github.com/huggingface/safetensors, safetensors/src/tensor.rs).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trireme::io {

// In the format's own order, by rising alignment: a file written largest first has every tensor
// aligned to its element.
enum class Dtype : std::uint8_t {
  kBool,  // a byte, 0 or 1
  kF4,    // two elements a byte
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF8E4M3Fnuz,
  kF8E5M2Fnuz,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,  // two F32
  kF64,
  kI64,
  kU64,
};

inline constexpr int kDtypeCount = 22;

// "F32": the name in files.
std::string_view dtype_name(Dtype dtype);

// The type of that name (upper case, exactly), if there is one.
std::optional<Dtype> parse_dtype(std::string_view name);

// Bits of one element: 4, 6, 8, 16, 32 or 64.
int dtype_bits(Dtype dtype);

// "BOOL, F4, ...": all names, for messages.
std::string dtype_names();

}  // namespace trireme::io
