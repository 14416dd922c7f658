// Weights between files and Params, by Hugging Face's names.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "trireme/io/tensor_source.h"
#include "trireme/nn/param.h"

namespace trireme::models {

// Which tensor of a Param's shape is meant: its value, or an engine's fp32 master.
using TensorOf = std::function<at::Tensor(const nn::Param&)>;
at::Tensor value_of(const nn::Param& param);

struct LoadResult {
  std::vector<std::string> missing;     // parts that the file lacks: left as they were
  std::vector<std::string> unexpected;  // tensors of the file that no Param takes
};

// Copies every part that `source` has, under its name, an alias, or its name without the prefix
// "bert." or "transformer." (files of a bare body), converting from F32, F16, BF16 or F64. Throws
// input_error naming the tensor, both shapes and the file when a shape or dtype does not fit.
LoadResult load_weights(const io::TensorSource& source, const std::vector<nn::UnitParams>& units,
                        const TensorOf& target = value_of);

// For a model that is to be trained on: load_weights, where only a head (no such prefix; the
// pooler counts as one) may be missing; it is initialised from `seed` by name. Anything else
// missing is an input_error that names it.
LoadResult load_pretrained(const io::TensorSource& source, const std::vector<nn::UnitParams>& units,
                           uint64_t seed, const TensorOf& target = value_of);
// For a model that is to be used: nothing may be missing.
void load_complete(const io::TensorSource& source, const std::vector<nn::UnitParams>& units,
                   const TensorOf& target = value_of);

// Initial values of every Param.
void init_weights(const std::vector<nn::UnitParams>& units, uint64_t seed,
                  const TensorOf& target = value_of);

// Every part once (a tied Param by its first name), as fp32: what a model.safetensors holds.
std::vector<io::TensorInfo> tensor_infos(const std::vector<nn::UnitParams>& units);

}  // namespace trireme::models
