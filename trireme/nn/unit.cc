#include "trireme/nn/unit.h"

#include <ATen/ATen.h>

#include "trireme/nn/tape.h"

namespace trireme::nn::internal {
namespace {

// An alias of x under a node of its own: detached, so that the node is not taken for a view's.
at::Tensor mark(const at::Tensor& x, const char* name, std::function<void()> hook) {
  if (!recording({x})) return x;
  return record(x.detach(), {x}, name, [hook = std::move(hook)](const std::vector<at::Tensor>& dy) {
    hook();
    return dy;
  });
}

}  // namespace

at::Tensor mark_unit_begin(const at::Tensor& x, UnitHooks* hooks, const UnitId& id) {
  return mark(x, "UnitBegin", [hooks, &id] { hooks->after_backward(id); });
}

at::Tensor mark_unit_end(const at::Tensor& x, UnitHooks* hooks, const UnitId& id) {
  return mark(x, "UnitEnd", [hooks, &id] { hooks->before_backward(id); });
}

}  // namespace trireme::nn::internal
