#include "trireme/models/weights.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <unordered_set>

#include "trireme/base/error.h"

namespace trireme::models {
namespace {

// Of the names of a model's body; files of a bare body leave them out.
constexpr std::string_view kBodyPrefixes[] = {"bert.", "transformer."};
constexpr std::string_view kPoolerPrefix = "bert.pooler.";

// The name within the body; empty for a head's.
std::string_view name_in_body(std::string_view name) {
  for (const std::string_view prefix : kBodyPrefixes)
    if (name.starts_with(prefix)) return name.substr(prefix.size());
  return {};
}

at::ScalarType scalar_type(const io::TensorInfo& info, const std::string& file) {
  switch (info.dtype) {
    case io::Dtype::kF32:
      return at::kFloat;
    case io::Dtype::kF64:
      return at::kDouble;
    case io::Dtype::kF16:
      return at::kHalf;
    case io::Dtype::kBF16:
      return at::kBFloat16;
    default:
      throw input_error(file, ": tensor '", info.name, "' is ", io::dtype_name(info.dtype),
                        "; weights are F32, F64, F16 or BF16");
  }
}

// What TensorFlow called a norm's tensors, as files converted from it still do (bert-base-uncased
// is one); the name itself for any other tensor.
std::string tensorflow_name(const std::string& name) {
  constexpr std::string_view kNorm = "LayerNorm.", kWeight = "weight", kBias = "bias";
  const size_t norm = name.rfind(kNorm);
  if (norm == std::string::npos) return name;
  const std::string stem = name.substr(0, norm + kNorm.size());
  const std::string_view last = std::string_view(name).substr(stem.size());
  return last == kWeight ? stem + "gamma" : last == kBias ? stem + "beta" : name;
}

// The file's tensor of one of these names.
const io::TensorInfo* find(const io::TensorSource& source, const std::string& name,
                           const std::vector<std::string>& aliases) {
  for (const std::string& known : {name, tensorflow_name(name)}) {
    if (const io::TensorInfo* info = source.find(known)) return info;
    const std::string_view bare = name_in_body(known);
    if (bare.empty()) continue;
    if (const auto* info = source.find(std::string(bare))) return info;
  }
  for (const std::string& alias : aliases) {
    if (const io::TensorInfo* info = source.find(alias)) return info;
  }
  return nullptr;
}

// What `part` holds of the file's tensor.
void copy_tensor(const io::TensorSource& source, const io::TensorInfo& info,
                 const nn::PartView& part) {
  const at::IntArrayRef shape(info.shape);
  if (info.shape != part.cut.shape) {
    throw input_error(source.path(), ": tensor '", info.name, "' has shape ", shape,
                      ", the model's ", part.part->name, " is ", at::IntArrayRef(part.cut.shape),
                      "; the weights and config.json belong to different models");
  }
  const at::ScalarType dtype = scalar_type(info, source.path());
  const std::span<const std::byte> bytes = source.view(info.name).bytes;
  if (bytes.empty()) return;
  at::Tensor staged = at::empty(shape, dtype);  // the file's bytes need not be aligned
  std::memcpy(staged.data_ptr(), bytes.data(), bytes.size());
  part.cut.copy_from(part.view, staged);
}

void refuse_missing(const io::TensorSource& source, const std::vector<std::string>& missing) {
  if (missing.empty()) return;
  throw input_error(
      source.path(), ": lacks '", missing.front(), "'",
      missing.size() > 1 ? cat(" and ", missing.size() - 1, " more tensors of the model") : "",
      "; it is another model's, or incomplete");
}

}  // namespace

at::Tensor value_of(const nn::Param& param) {
  return param.value;
}

LoadResult load_weights(const io::TensorSource& source, const std::vector<nn::UnitParams>& units,
                        const TensorOf& target) {
  at::NoGradGuard no_grad;
  LoadResult result;
  std::unordered_set<std::string> used;
  for (const nn::Param* param : nn::params_once(units)) {
    for (const nn::PartView& part : nn::part_views(*param, target(*param))) {
      const io::TensorInfo* info = find(source, part.part->name, param->spec.aliases);
      if (info == nullptr) {
        result.missing.push_back(part.part->name);
        continue;
      }
      copy_tensor(source, *info, part);
      used.insert(info->name);
    }
    used.insert(param->spec.aliases.begin(), param->spec.aliases.end());
  }
  for (const io::TensorInfo& info : source.tensors()) {
    if (!used.contains(info.name)) result.unexpected.push_back(info.name);
  }
  return result;
}

LoadResult load_pretrained(const io::TensorSource& source, const std::vector<nn::UnitParams>& units,
                           uint64_t seed, const TensorOf& target) {
  init_weights(units, seed, target);
  LoadResult result = load_weights(source, units, target);
  std::vector<std::string> body_parts;
  std::copy_if(result.missing.begin(), result.missing.end(), std::back_inserter(body_parts),
               [](const std::string& name) {
                 return !name_in_body(name).empty() && !name.starts_with(kPoolerPrefix);
               });
  refuse_missing(source, body_parts);
  return result;
}

void load_complete(const io::TensorSource& source, const std::vector<nn::UnitParams>& units,
                   const TensorOf& target) {
  refuse_missing(source, load_weights(source, units, target).missing);
}

void init_weights(const std::vector<nn::UnitParams>& units, uint64_t seed, const TensorOf& target) {
  for (const nn::Param* param : nn::params_once(units))
    nn::init_param(*param, seed, target(*param));
}

std::vector<io::TensorInfo> tensor_infos(const std::vector<nn::UnitParams>& units) {
  std::vector<io::TensorInfo> infos;
  for (const nn::Param* param : nn::params_once(units)) {
    for (const nn::Part& part : param->spec.parts) {
      std::vector<int64_t> shape = param->spec.shape;
      shape[0] = part.rows;
      infos.push_back({part.name, io::Dtype::kF32, shape});
    }
  }
  return infos;
}

}  // namespace trireme::models
