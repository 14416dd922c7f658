#include "trireme/nn/tape.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <algorithm>

#include "trireme/base/error.h"

namespace trireme::nn {
namespace {

bool none_defined(const std::vector<at::Tensor>& tensors) {
  return std::none_of(tensors.begin(), tensors.end(),
                      [](const at::Tensor& t) { return t.defined(); });
}

struct FunctionNode : torch::autograd::Node {
  FunctionNode(const char* name, Backward backward, UnusedOutput unused)
      : label(name), backward(std::move(backward)), unused(unused) {}

  torch::autograd::variable_list apply(torch::autograd::variable_list&& grads) override {
    if (!backward)
      throw run_error("backward of ", label, " ran a second time; a graph is used once");
    at::NoGradGuard no_grad;
    if (unused == UnusedOutput::kZeros) {
      if (none_defined(grads)) {
        backward = nullptr;
        return torch::autograd::variable_list(num_outputs());
      }
      for (size_t i = 0; i < grads.size(); ++i) {
        if (!grads[i].defined()) grads[i] = input_metadata(i).zeros_like();
      }
    }
    Backward once = std::move(backward);
    backward = nullptr;
    return once(grads);
  }
  void release_variables() override { backward = nullptr; }
  std::string name() const override { return label; }

  const char* label;
  Backward backward;
  UnusedOutput unused;
};

}  // namespace

bool recording(const std::vector<at::Tensor>& inputs) {
  return at::GradMode::is_enabled() &&
         std::any_of(inputs.begin(), inputs.end(),
                     [](const at::Tensor& x) { return x.defined() && x.requires_grad(); });
}

void record(const std::vector<at::Tensor>& outputs, const std::vector<at::Tensor>& inputs,
            const char* name, Backward backward, UnusedOutput unused) {
  if (!recording(inputs)) return;
  auto node = std::shared_ptr<FunctionNode>(new FunctionNode(name, std::move(backward), unused),
                                            torch::autograd::deleteNode);
  torch::autograd::edge_list edges;
  for (const at::Tensor& x : inputs) {
    edges.push_back(x.defined() && x.requires_grad() ? torch::autograd::impl::gradient_edge(x)
                                                     : torch::autograd::Edge());
  }
  node->set_next_edges(std::move(edges));
  for (const at::Tensor& y : outputs) torch::autograd::set_history(y, node);
}

at::Tensor record(at::Tensor output, const std::vector<at::Tensor>& inputs, const char* name,
                  Backward backward) {
  record(std::vector<at::Tensor>{output}, inputs, name, std::move(backward));
  return output;
}

at::Tensor graph_root() {
  return at::zeros({}, at::kFloat).set_requires_grad(true);
}

}  // namespace trireme::nn
