#include "trireme/parallel/module_params.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <unordered_map>

#include "trireme/base/error.h"
#include "trireme/parallel/holdings.h"

namespace trireme::parallel {
namespace {

namespace autograd = torch::autograd;

// Of one parameter: its gradient of this backward is complete in `.grad`.
class LeafHook final : public autograd::PostAccumulateGradHook {
 public:
  LeafHook(nn::Param& param, std::unique_ptr<PostAccumulateGradHook> before)
      : before(std::move(before)), param_(param) {}

  void operator()(const at::Tensor& leaf) override {
    if (before) (*before)(leaf);
    at::Tensor& grad = leaf.mutable_grad();
    if (!grad.defined() || !param_.wants_grad()) return;
    at::NoGradGuard no_grad;
    const nn::Param::GradTarget target = param_.grad_target();
    const at::Tensor dense = (grad.is_sparse() ? grad.to_dense() : grad).view_as(target.grad);
    target.fresh ? target.grad.copy_(dense) : target.grad.add_(dense);
    grad.reset();
    param_.ready();
  }

  std::unique_ptr<PostAccumulateGradHook> before;

 private:
  nn::Param& param_;
};

std::unique_ptr<autograd::PostAccumulateGradHook>& hook_of(const at::Tensor& leaf) {
  return autograd::impl::post_acc_grad_hooks(leaf);
}

LeafHook* own_hook_of(const at::Tensor& leaf) {
  return dynamic_cast<LeafHook*>(hook_of(leaf).get());
}

void check_dtype(const std::string& name, const at::Tensor& leaf) {
  const at::ScalarType dtype = leaf.scalar_type();
  if (dtype == at::kFloat || dtype == at::kHalf || dtype == at::kBFloat16) return;
  throw input_error("parameter ", name, " is ", c10::toString(dtype),
                    "; training keeps fp32 masters: convert the module first, "
                    "model->to(torch::kFloat)");
}

nn::ParamSpec spec_of(const std::string& name, const at::Tensor& leaf,
                      const ModuleParamsOptions& options) {
  nn::ParamSpec spec;
  spec.name = name;
  spec.shape = leaf.sizes().vec();
  if (spec.shape.empty()) spec.shape = {1};  // a scalar is a vector of one
  spec.parts = {{name, spec.shape[0]}};
  if (options.configure) options.configure(spec);
  return spec;
}

// "encoder.0" of "encoder.0.weight"
std::string_view module_of(std::string_view name) {
  const size_t dot = name.rfind('.');
  return dot == std::string_view::npos ? std::string_view() : name.substr(0, dot);
}

std::string unit_name(const std::vector<nn::Param*>& params) {
  const std::string& first = params.front()->spec.name;
  return params.size() == 1 ? first : cat(first, "..", params.back()->spec.name);
}

}  // namespace

ModuleParams::ModuleParams(torch::nn::Module& module, const ModuleParamsOptions& options) {
  std::unordered_map<const at::TensorImpl*, nn::Param*> known;
  std::unordered_map<const void*, std::string> by_memory;
  for (const auto& entry : module.named_parameters()) {
    const std::string& name = entry.key();
    const at::Tensor& leaf = entry.value();
    if (!leaf.requires_grad()) {
      frozen_.push_back({name, leaf});
      continue;
    }
    const auto [found, is_new] = known.emplace(leaf.unsafeGetTensorImpl(), nullptr);
    if (!is_new) {
      found->second->spec.aliases.push_back(name);
      continue;
    }
    check_dtype(name, leaf);
    if (!leaf.is_leaf()) {
      throw input_error("parameter ", name, " is computed from others: register a leaf tensor");
    }
    if (own_hook_of(leaf) != nullptr) {
      throw input_error("parameter ", name,
                        " is held by another engine already: distribute a module once");
    }
    if (leaf.numel() > 0) {
      const auto [other, alone] = by_memory.emplace(leaf.storage().data(), name);
      if (!alone) {
        throw input_error("parameters ", other->second, " and ", name,
                          " share memory but are two tensors: register one tensor under both "
                          "names, or give each its own memory");
      }
    }
    auto param = std::make_unique<nn::Param>(spec_of(name, leaf, options));
    found->second = param.get();
    leaves_.push_back({leaf, std::move(param)});
  }
  if (leaves_.empty()) throw input_error("the module has no parameter that requires a gradient");
  for (const auto& entry : module.named_buffers()) buffers_.push_back({entry.key(), entry.value()});
  cut_into_units(options);
  for (const Leaf& leaf : leaves_) {
    std::unique_ptr<autograd::PostAccumulateGradHook> before = std::move(hook_of(leaf.tensor));
    autograd::impl::set_post_acc_grad_hooks(
        leaf.tensor, std::make_unique<LeafHook>(*leaf.param, std::move(before)));
  }
}

ModuleParams::~ModuleParams() {
  for (Leaf& leaf : leaves_) {
    // Somebody may have set another hook since: theirs stays.
    LeafHook* hook = own_hook_of(leaf.tensor);
    if (hook == nullptr) continue;
    if (leaf.attached && !leaf.param->value.defined()) {
      leaf.tensor.set_data(at::empty({0}, leaf.tensor.options()));
    }
    std::unique_ptr<autograd::PostAccumulateGradHook> before = std::move(hook->before);
    autograd::impl::set_post_acc_grad_hooks(leaf.tensor, std::move(before));
  }
}

void ModuleParams::cut_into_units(const ModuleParamsOptions& options) {
  std::vector<nn::UnitParams> named;
  for (const std::string& name : options.units) {
    named.push_back({.name = name, .params = {}, .called_as_unit = true});
  }
  std::vector<nn::Param*> rest;
  for (const Leaf& leaf : leaves_) {
    const nn::ParamSpec& spec = leaf.param->spec;
    std::vector<std::string> names = {spec.name};
    names.insert(names.end(), spec.aliases.begin(), spec.aliases.end());
    bool taken = false;
    for (nn::UnitParams& unit : named) {
      const bool holds = std::any_of(names.begin(), names.end(), [&](const std::string& parameter) {
        return parameter.starts_with(unit.name + ".");
      });
      if (holds) unit.params.push_back(leaf.param.get());
      taken = taken || holds;
    }
    if (!taken) rest.push_back(leaf.param.get());
  }
  for (const nn::UnitParams& unit : named) {
    if (unit.params.empty()) {
      throw input_error("no parameter to train in unit ", unit.name,
                        ": units are names of modules, as in named_modules()");
    }
  }
  cut_the_rest(rest, options.bucket_bytes);
  units_.insert(units_.end(), named.begin(), named.end());
}

void ModuleParams::cut_the_rest(const std::vector<nn::Param*>& rest, int64_t bucket_bytes) {
  std::vector<nn::Param*> params;
  int64_t bytes = 0;
  const auto close = [&] {
    if (params.empty()) return;
    units_.push_back({unit_name(params), std::move(params)});
    params.clear();
    bytes = 0;
  };
  for (nn::Param* param : rest) {
    if (bytes >= bucket_bytes &&
        module_of(params.back()->spec.name) != module_of(param->spec.name)) {
      close();
    }
    params.push_back(param);
    bytes += param->spec.numel() * 4;
  }
  close();
}

void ModuleParams::bind(Engine& engine, at::ScalarType compute_dtype) {
  comm::Group& group = engine.group();
  load_masters(Holdings(group, {{&engine}}),
               [this](const std::string& name, const at::Tensor& whole) { read(name, whole); });
  {
    const WholeValues whole(engine);
    attach(compute_dtype);
  }
  if (group.size() == 1) return;
  at::NoGradGuard no_grad;
  for (const Named& frozen : frozen_) {
    group.broadcast(frozen.tensor.data(), 0, "frozen " + frozen.name)->wait();
  }
  broadcast_buffers(group, 0);
}

void ModuleParams::read(const std::string& name, at::Tensor whole) const {
  at::NoGradGuard no_grad;
  const auto leaf = std::find_if(leaves_.begin(), leaves_.end(), [&](const Leaf& candidate) {
    return candidate.param->spec.name == name;
  });
  if (leaf == leaves_.end()) throw run_error("the module has no parameter ", name, " to train");
  whole.copy_(leaf->tensor.detach().view_as(whole));
}

void ModuleParams::attach(at::ScalarType compute_dtype) {
  at::NoGradGuard no_grad;
  for (Leaf& leaf : leaves_) {
    leaf.tensor.mutable_grad().reset();
    leaf.tensor.set_data(leaf.param->value.view(leaf.tensor.sizes()));
    leaf.attached = true;
  }
  for (std::vector<Named>* others : {&frozen_, &buffers_}) {
    for (Named& other : *others) {
      if (!other.tensor.is_floating_point() || other.tensor.scalar_type() == compute_dtype)
        continue;
      other.tensor.set_data(other.tensor.to(compute_dtype));
    }
  }
}

void ModuleParams::broadcast_buffers(comm::Group& group, int root) {
  if (group.size() == 1) return;
  at::NoGradGuard no_grad;
  for (const Named& buffer : buffers_) {
    group.broadcast(buffer.tensor.data(), root, "buffer " + buffer.name)->wait();
  }
}

}  // namespace trireme::parallel
