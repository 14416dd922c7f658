#include "trireme/models/module_weights.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/nn/module.h>

#include <array>
#include <cstring>
#include <unordered_map>
#include <unordered_set>

#include "trireme/base/error.h"
#include "trireme/io/safetensors.h"

namespace trireme::models {
namespace {

struct NamedTensor {
  std::vector<std::string> names;
  at::Tensor tensor;
};

// Parameters, then buffers; each tensor once.
std::vector<NamedTensor> tensors_of(const torch::nn::Module& module) {
  std::vector<NamedTensor> tensors;
  std::unordered_map<const at::TensorImpl*, size_t> known;
  for (const auto& list : {module.named_parameters(), module.named_buffers()}) {
    for (const auto& entry : list) {
      const auto [found, is_new] =
          known.emplace(entry.value().unsafeGetTensorImpl(), tensors.size());
      if (is_new) tensors.push_back({{}, entry.value()});
      tensors[found->second].names.push_back(entry.key());
    }
  }
  return tensors;
}

struct DtypePair {
  at::ScalarType torch;
  io::Dtype file;
};
constexpr std::array kDtypes = {
    DtypePair{at::kFloat, io::Dtype::kF32}, DtypePair{at::kDouble, io::Dtype::kF64},
    DtypePair{at::kHalf, io::Dtype::kF16},  DtypePair{at::kBFloat16, io::Dtype::kBF16},
    DtypePair{at::kLong, io::Dtype::kI64},  DtypePair{at::kInt, io::Dtype::kI32},
    DtypePair{at::kShort, io::Dtype::kI16}, DtypePair{at::kChar, io::Dtype::kI8},
    DtypePair{at::kByte, io::Dtype::kU8},   DtypePair{at::kBool, io::Dtype::kBool},
};

io::Dtype file_dtype(const NamedTensor& named) {
  for (const DtypePair& pair : kDtypes) {
    if (pair.torch == named.tensor.scalar_type()) return pair.file;
  }
  throw run_error("tensor ", named.names.front(), " is ", c10::toString(named.tensor.scalar_type()),
                  ", which safetensors files do not hold");
}

at::Tensor read(const io::TensorSource& source, const io::TensorInfo& info) {
  for (const DtypePair& pair : kDtypes) {
    if (pair.file != info.dtype) continue;
    at::Tensor staged = at::empty(info.shape, pair.torch);  // the file's bytes need not be aligned
    const std::span<const std::byte> bytes = source.view(info.name).bytes;
    if (!bytes.empty()) std::memcpy(staged.data_ptr(), bytes.data(), bytes.size());
    return staged;
  }
  throw input_error(source.path(), ": tensor '", info.name, "' is ", io::dtype_name(info.dtype),
                    ", which torch tensors here are not");
}

const io::TensorInfo& find(const io::TensorSource& source, const NamedTensor& named) {
  for (const std::string& name : named.names) {
    if (const io::TensorInfo* info = source.find(name)) return *info;
  }
  io::throw_no_such_tensor(source, named.names.front());
}

}  // namespace

void save_module(const torch::nn::Module& module, const std::string& path) {
  std::vector<io::TensorInfo> infos;
  std::unordered_map<std::string, at::Tensor> by_name;
  for (const NamedTensor& named : tensors_of(module)) {
    infos.push_back({named.names.front(), file_dtype(named), named.tensor.sizes().vec()});
    by_name[named.names.front()] = named.tensor.detach().contiguous();
  }
  io::sort_for_file(infos);
  io::SafetensorsWriter writer(path, infos, {{"format", "pt"}});
  for (const io::TensorInfo& info : infos) {
    const at::Tensor& tensor = by_name.at(info.name);
    writer.write(info.name,
                 {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
  }
  writer.commit();
}

void load_module(torch::nn::Module& module, const std::string& path) {
  at::NoGradGuard no_grad;
  const io::SafetensorsFile file(path);
  const std::vector<NamedTensor> tensors = tensors_of(module);
  std::unordered_set<std::string> known;
  for (const NamedTensor& named : tensors) {
    known.insert(named.names.begin(), named.names.end());
    const io::TensorInfo& info = find(file, named);
    if (at::IntArrayRef(info.shape) != named.tensor.sizes()) {
      throw input_error(path, ": tensor '", info.name, "' has shape ", at::IntArrayRef(info.shape),
                        ", the module's is ", named.tensor.sizes());
    }
    named.tensor.copy_(read(file, info));
  }
  for (const io::TensorInfo& info : file.tensors()) {
    if (!known.contains(info.name)) {
      throw input_error(path, ": holds ", io::shown_name(info.name),
                        ", which the module does not have; it is another model's");
    }
  }
}

}  // namespace trireme::models
