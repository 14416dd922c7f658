// The parameters of any torch::nn::Module as Params, so that an engine can hold them.
//
//   ModuleParams params(*model, {});
//   Engine engine(params.units(), group, {.compute_dtype = at::kBFloat16});
//   params.bind(engine, at::kBFloat16);    // the module computes with the engine's values
//   loss(model->forward(x)).backward();    // gradients to main_grad; Params say ready()
//
// - Names are torch's (Module::named_parameters). A tensor that is registered under several names
//   is one Param; the later names are its aliases.
// - Parameters without requires_grad are frozen: no Param, no gradient, no communication.
// - The module's tensors stay the objects that they are (handles to them stay good); what changes
//   is their memory: a view in the engine's flat bucket, row-major, in its compute dtype.
// - One hook a parameter (post-accumulate: torch has one slot a tensor) adds `.grad` to main_grad,
//   drops it and calls ready(). A hook that was there runs first, and is put back at the end.
// - Buffers (a batch norm's statistics) are the rank's own.
// - At ZeRO stage 3 a module's tensors have memory only while their unit runs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "trireme/nn/param.h"
#include "trireme/parallel/engine.h"

namespace torch::nn {
class Module;
}

namespace trireme::parallel {

struct ModuleParamsOptions {
  // Gradients that are summed in one go, in bytes of fp32. Parameters are taken in the order of
  // their registration; those of one module stay together.
  int64_t bucket_bytes = 25 << 20;
  // Modules that are called through DataParallel::run_unit(), by their names ("encoder.0"), in the
  // order of forward: a bucket each. A tied tensor is of all that hold one of its names.
  std::vector<std::string> units = {};
  // May change a parameter's decay, lr_scale and sparse_grad, by its name and shape. Without it all
  // parameters decay, as in torch::optim::AdamW.
  std::function<void(nn::ParamSpec&)> configure = {};
};

class ModuleParams {
 public:
  // Throws input_error: no parameter to train, a dtype other than float, half or bfloat16, two
  // parameters that share memory without being one tensor, a module that is distributed already.
  ModuleParams(torch::nn::Module& module, const ModuleParamsOptions& options);
  // Puts the hooks back that were there. The module keeps the engine's values (after stage 3, where
  // there are none: empty tensors).
  ~ModuleParams();
  ModuleParams(const ModuleParams&) = delete;
  ModuleParams& operator=(const ModuleParams&) = delete;

  // One unit a bucket: those by size in the order of registration, then the named ones.
  const std::vector<nn::UnitParams>& units() const { return units_; }

  // Rank 0's parameters (frozen ones too) and buffers become everyone's: the masters of `engine`,
  // which was made of units(), and through them the module's tensors. Every rank calls it.
  void bind(Engine& engine, at::ScalarType compute_dtype);
  // Its steps, for who makes the engine elsewhere (a Task of the trainer). This rank's value of a
  // parameter, for load_masters() (holdings.h):
  void read(const std::string& name, at::Tensor whole) const;
  // The module's tensors become the Params' values, which must be there (WholeValues); frozen
  // parameters and floating-point buffers take the compute dtype, as by Module::to.
  void attach(at::ScalarType compute_dtype);

  // Rank `root`'s buffers to everyone: where evaluation or a saved file is to have one set of them.
  void broadcast_buffers(comm::Group& group, int root);

 private:
  struct Leaf {
    at::Tensor tensor;  // the module's
    std::unique_ptr<nn::Param> param;
    bool attached = false;
  };
  struct Named {
    std::string name;
    at::Tensor tensor;
  };

  void cut_into_units(const ModuleParamsOptions& options);
  void cut_the_rest(const std::vector<nn::Param*>& rest, int64_t bucket_bytes);

  std::vector<Leaf> leaves_;
  std::vector<Named> frozen_;
  std::vector<Named> buffers_;
  std::vector<nn::UnitParams> units_;
};

}  // namespace trireme::parallel
