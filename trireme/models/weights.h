// Weights between files and Params, by Hugging Face's names.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "trireme/io/tensor_source.h"
#include "trireme/nn/param.h"

namespace trireme::models {

struct LoadResult {
  std::vector<std::string> missing;     // parts that the file lacks
  std::vector<std::string> unexpected;  // tensors of the file that no Param takes
};

// Copies every part that `source` has into the Params' values (what they hold of it: nn::TpSlice),
// under its name, an alias, or its name without the prefix "bert." or "transformer." (files of a
// bare body), converting from F32, F16, BF16 or F64. Missing parts stay as they were. Throws
// input_error naming the tensor, both shapes and the file when a shape or dtype does not fit.
LoadResult load_weights(const io::TensorSource& source, const std::vector<nn::UnitParams>& units);

// For a model that is to be trained on: load_weights, where only a head (no such prefix; the
// pooler counts as one) may be missing; it is initialised from `seed` by name. Anything else
// missing is an input_error that names it.
LoadResult load_pretrained(const io::TensorSource& source, const std::vector<nn::UnitParams>& units,
                           uint64_t seed);
// For a model that is to be used: nothing may be missing.
void load_complete(const io::TensorSource& source, const std::vector<nn::UnitParams>& units);

// What load_pretrained() loads, a tensor at a time: for who deals a model to many ranks
// (parallel::load_masters) and holds little of it itself. All that can be wrong with the file is
// found at the beginning. Params need no storage.
class PretrainedTensors {
 public:
  // Throws what load_pretrained() does. The Params outlive it.
  PretrainedTensors(std::shared_ptr<const io::TensorSource> source,
                    const std::vector<nn::UnitParams>& units, uint64_t seed);
  const LoadResult& result() const { return result_; }
  // A part by its name, whole.
  void read(const std::string& part, at::Tensor whole) const;

 private:
  struct Place {
    const nn::ParamSpec* spec;
    const io::TensorInfo* info;  // null: the file lacks it
  };
  std::shared_ptr<const io::TensorSource> source_;
  uint64_t seed_;
  LoadResult result_;
  std::unordered_map<std::string, Place> places_;
};

// Initial values of every Param.
void init_weights(const std::vector<nn::UnitParams>& units, uint64_t seed);

// Every part once (a tied Param by its first name), as fp32: what a model.safetensors holds.
std::vector<io::TensorInfo> tensor_infos(const std::vector<nn::UnitParams>& units);

}  // namespace trireme::models
