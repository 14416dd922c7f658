#include "trireme/io/tensor_source.h"

#include "trireme/base/error.h"
#include "trireme/base/json.h"
#include "trireme/base/text_distance.h"

namespace trireme::io {

std::optional<std::uint64_t> tensor_bytes(Dtype dtype, std::span<const std::int64_t> shape) {
  std::uint64_t bits = 1;
  for (const std::int64_t dim : shape) {
    if (dim < 0) return std::nullopt;
    if (__builtin_mul_overflow(bits, static_cast<std::uint64_t>(dim), &bits)) return std::nullopt;
  }
  if (__builtin_mul_overflow(bits, static_cast<std::uint64_t>(dtype_bits(dtype)), &bits)) {
    return std::nullopt;
  }
  if (bits % 8 != 0) return std::nullopt;
  return bits / 8;
}

std::uint64_t checked_tensor_bytes(const TensorInfo& info) {
  const std::optional<std::uint64_t> bytes = tensor_bytes(info.dtype, info.shape);
  if (bytes) return *bytes;
  throw run_error("tensor ", shown_name(info.name), ": shape ", dump_json(Json(info.shape)), " of ",
                  dtype_name(info.dtype), " is negative, too large, or ends inside a byte");
}

void throw_no_such_tensor(const TensorSource& source, std::string_view name) {
  std::vector<std::string> names;
  for (const TensorInfo& info : source.tensors()) names.push_back(info.name);
  const std::string near = nearest(name, names);
  throw input_error(source.path(), ": no tensor ", shown_name(name),
                    near.empty() ? cat(" among its ", names.size())
                                 : cat("; did you mean ", shown_name(near), "?"));
}

std::string shown_name(std::string_view name) {
  constexpr std::size_t kMaxShown = 200;
  // JSON's escapes, without its double quotes.
  std::string text = dump_json(Json(std::string(name.substr(0, kMaxShown))));
  text.front() = '\'';
  text.pop_back();
  return text + (name.size() > kMaxShown ? "...'" : "'");
}

}  // namespace trireme::io
