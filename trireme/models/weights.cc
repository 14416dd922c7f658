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

// A part of the model, and the file's tensor for it; null: the file lacks it.
struct Match {
  const nn::Param* param;
  const nn::Part* part;
  const io::TensorInfo* info;
};

void check_fits(const io::TensorSource& source, const Match& match) {
  const std::vector<int64_t> want = nn::cut_part(match.param->spec, *match.part, {}).shape;
  if (match.info->shape != want) {
    throw input_error(source.path(), ": tensor '", match.info->name, "' has shape ",
                      at::IntArrayRef(match.info->shape), ", the model's ", match.part->name,
                      " is ", at::IntArrayRef(want),
                      "; the weights and config.json belong to different models");
  }
  scalar_type(*match.info, source.path());
}

// Every part of the Params, in their order.
std::vector<Match> find_all(const io::TensorSource& source,
                            const std::vector<nn::UnitParams>& units) {
  std::vector<Match> matches;
  for (const nn::Param* param : nn::params_once(units)) {
    for (const nn::Part& part : param->spec.parts) {
      matches.push_back({param, &part, find(source, part.name, param->spec.aliases)});
      if (matches.back().info != nullptr) check_fits(source, matches.back());
    }
  }
  return matches;
}

LoadResult result_of(const io::TensorSource& source, const std::vector<Match>& matches) {
  LoadResult result;
  std::unordered_set<std::string> used;
  for (const Match& match : matches) {
    if (match.info == nullptr) {
      result.missing.push_back(match.part->name);
    } else {
      used.insert(match.info->name);
    }
    used.insert(match.param->spec.aliases.begin(), match.param->spec.aliases.end());
  }
  for (const io::TensorInfo& info : source.tensors()) {
    if (!used.contains(info.name)) result.unexpected.push_back(info.name);
  }
  return result;
}

// In the file's dtype; a copy, for the file's bytes need not be aligned.
at::Tensor read_tensor(const io::TensorSource& source, const io::TensorInfo& info) {
  const at::Tensor tensor = at::empty(info.shape, scalar_type(info, source.path()));
  const std::span<const std::byte> bytes = source.view(info.name).bytes;
  if (!bytes.empty()) std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  return tensor;
}

void refuse_missing(const io::TensorSource& source, const std::vector<std::string>& missing) {
  if (missing.empty()) return;
  throw input_error(
      source.path(), ": lacks '", missing.front(), "'",
      missing.size() > 1 ? cat(" and ", missing.size() - 1, " more tensors of the model") : "",
      "; it is another model's, or incomplete");
}

// But not of a head.
std::vector<std::string> missing_of_body(const LoadResult& result) {
  std::vector<std::string> names;
  std::copy_if(result.missing.begin(), result.missing.end(), std::back_inserter(names),
               [](const std::string& name) {
                 return !name_in_body(name).empty() && !name.starts_with(kPoolerPrefix);
               });
  return names;
}

}  // namespace

LoadResult load_weights(const io::TensorSource& source, const std::vector<nn::UnitParams>& units) {
  const std::vector<Match> matches = find_all(source, units);
  auto match = matches.begin();
  for (const nn::Param* param : nn::params_once(units)) {
    for (const nn::PartView& part : nn::part_views(*param, param->value)) {
      const io::TensorInfo* info = match++->info;
      if (info != nullptr) part.cut.copy_from(part.view, read_tensor(source, *info));
    }
  }
  return result_of(source, matches);
}

LoadResult load_pretrained(const io::TensorSource& source, const std::vector<nn::UnitParams>& units,
                           uint64_t seed) {
  init_weights(units, seed);
  LoadResult result = load_weights(source, units);
  refuse_missing(source, missing_of_body(result));
  return result;
}

void load_complete(const io::TensorSource& source, const std::vector<nn::UnitParams>& units) {
  refuse_missing(source, load_weights(source, units).missing);
}

PretrainedTensors::PretrainedTensors(std::shared_ptr<const io::TensorSource> source,
                                     const std::vector<nn::UnitParams>& units, uint64_t seed)
    : source_(std::move(source)), seed_(seed) {
  const std::vector<Match> matches = find_all(*source_, units);
  result_ = result_of(*source_, matches);
  refuse_missing(*source_, missing_of_body(result_));
  for (const Match& match : matches) {
    places_[match.part->name] = {&match.param->spec, match.info};
  }
}

void PretrainedTensors::read(const std::string& part, at::Tensor whole) const {
  const at::NoGradGuard no_grad;
  const auto place = places_.find(part);
  if (place == places_.end()) throw run_error("the model has no parameter ", part);
  if (place->second.info != nullptr) {
    whole.copy_(read_tensor(*source_, *place->second.info));
  } else {
    nn::init_run(*place->second.spec, part, seed_, 0, whole.view({-1}));
  }
}

void init_weights(const std::vector<nn::UnitParams>& units, uint64_t seed) {
  for (const nn::Param* param : nn::params_once(units)) {
    nn::init_param(*param, seed, param->value);
  }
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
