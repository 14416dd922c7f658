#include "trireme/nn/unit.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "trireme/nn/tape.h"

namespace trireme::nn::internal {
namespace {

// Aliases of xs under a node of their own: detached, so that the node is not taken for a view's.
// The node passes gradients on as they are, none for none.
Tensors mark(const Tensors& xs, const char* name, const std::function<Tensors(const Tensors&)>& f) {
  if (!recording(xs)) return xs;
  Tensors marked;
  for (const at::Tensor& x : xs) marked.push_back(x.detach());
  record(marked, xs, name, f, UnusedOutput::kUndefined);
  return marked;
}

at::Tensor generator_state() {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard lock(generator.mutex());
  return generator.get_state();
}

void set_generator_state(const at::Tensor& state) {
  at::Generator generator = at::detail::getDefaultCPUGenerator();
  const std::lock_guard lock(generator.mutex());
  generator.set_state(state);
}

// What a second run of forward needs. The caller's Context and SeqInfo may be gone by then.
struct SecondRun {
  SecondRun(at::Tensor x, const Context& context, UnitForward forward)
      : x(std::move(x)), context(context), forward(std::move(forward)) {
    if (context.seq != nullptr) this->context.seq = &seq.emplace(*context.seq);
  }
  SecondRun(const SecondRun&) = delete;
  SecondRun& operator=(const SecondRun&) = delete;

  // The gradient of x.
  at::Tensor backward(const Tensors& dys) {
    const at::Tensor input = x.detach().requires_grad_(true);
    Tensors ys;
    {
      const at::AutoGradMode grad_mode(true);
      const at::Tensor now = generator_state();
      set_generator_state(state);
      ys = forward(input, context);
      set_generator_state(now);
    }
    Tensors roots, gradients;
    for (size_t i = 0; i < ys.size(); ++i) {
      if (!dys[i].defined() || !ys[i].requires_grad()) continue;
      roots.push_back(ys[i]);
      gradients.push_back(dys[i]);
    }
    ys.clear();
    torch::autograd::backward(roots, gradients);
    return input.grad();
  }

  at::Tensor x;
  Context context;
  std::optional<kernels::SeqInfo> seq;
  UnitForward forward;
  at::Tensor state = generator_state();
};

bool any_defined(const Tensors& tensors) {
  return std::any_of(tensors.begin(), tensors.end(),
                     [](const at::Tensor& t) { return t.defined(); });
}

UnitHooks& hooks_of(const Context& context) {
  static UnitHooks none;
  return context.hooks != nullptr ? *context.hooks : none;
}

}  // namespace

Tensors call_unit(const UnitId& id, const at::Tensor& x, Context& context,
                  const UnitForward& forward) {
  UnitHooks& hooks = hooks_of(context);
  hooks.before_forward(id);
  // Begin runs also when nothing behind it has a gradient for it: an embedding, or no backward
  // here.
  const auto in_backward = std::make_shared<bool>(false);
  const Tensors begin = mark({x}, "UnitBegin", [&hooks, &id, in_backward](const Tensors& dx) {
    if (*in_backward) hooks.after_backward(id);
    return dx;
  });
  Tensors ys =
      mark(forward(begin[0], context), "UnitEnd", [&hooks, &id, in_backward](const Tensors& dy) {
        *in_backward = any_defined(dy);
        if (*in_backward) hooks.before_backward(id);
        return dy;
      });
  hooks.after_forward(id);
  return ys;
}

Tensors call_unit_recomputing(const UnitId& id, const at::Tensor& x, Context& context,
                              const UnitForward& forward) {
  if (!recording({x})) return call_unit(id, x, context, forward);
  UnitHooks& hooks = hooks_of(context);
  const auto second = std::make_shared<SecondRun>(x.detach(), context, forward);
  hooks.before_forward(id);
  Tensors ys;
  {
    const at::NoGradGuard no_grad;
    for (const at::Tensor& y : forward(second->x, context)) ys.push_back(y.detach());
  }
  record(
      ys, {x}, "RecomputedUnit",
      [&hooks, &id, second](const Tensors& dys) -> Tensors {
        if (!any_defined(dys)) return {at::Tensor()};
        hooks.before_backward(id);
        at::Tensor dx = second->backward(dys);
        hooks.after_backward(id);
        return {dx};
      },
      UnusedOutput::kUndefined);
  hooks.after_forward(id);
  return ys;
}

}  // namespace trireme::nn::internal
