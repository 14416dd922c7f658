// Units: the blocks whose beginning and end an engine must see (ZeRO-3 gathers, recompute, pipeline
// stages). C++ modules have no forward hooks, so blocks are called through Unit<Block>:
//
//   nn::Unit<BertLayer> layer{3, "encoder.layer.3", config};   // the last arguments build the
//   block x_th = layer(x_th, context);
//
// Identity autograd nodes before and after the block tell when its backward begins and ends. A
// block has `at::Tensor forward(const at::Tensor& x_th, Context&)` and `void
// collect(std::vector<Param*>&)`.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>

#include "trireme/nn/context.h"
#include "trireme/nn/param.h"

namespace trireme::nn {

struct UnitId {
  int index;         // in the model's order of forward
  std::string name;  // for messages and traces
};

// Called on the thread that runs forward or backward, in program order on every rank. The defaults
// do nothing.
class UnitHooks {
 public:
  virtual ~UnitHooks() = default;
  virtual void before_forward(const UnitId&) {}
  virtual void after_forward(const UnitId&) {}
  virtual void before_backward(const UnitId&) {}
  virtual void after_backward(const UnitId&) {}
};

namespace internal {
// x itself, in the graph, with a node whose backward calls the hook.
at::Tensor mark_unit_begin(const at::Tensor& x, UnitHooks* hooks,
                           const UnitId& id);  // backward: after_backward
at::Tensor mark_unit_end(const at::Tensor& x, UnitHooks* hooks,
                         const UnitId& id);  // backward: before_backward
}  // namespace internal

template <class Block>
class Unit {
 public:
  template <class... Args>
  Unit(int index, std::string name, Args&&... args)
      : id_{index, std::move(name)}, block_(std::forward<Args>(args)...) {}

  at::Tensor operator()(const at::Tensor& x, Context& context) {
    UnitHooks* hooks = context.hooks;
    if (hooks == nullptr) return block_.forward(x, context);
    hooks->before_forward(id_);
    at::Tensor y = block_.forward(internal::mark_unit_begin(x, hooks, id_), context);
    y = internal::mark_unit_end(y, hooks, id_);
    hooks->after_forward(id_);
    return y;
  }

  const UnitId& id() const { return id_; }
  Block& block() { return block_; }
  UnitParams params() {
    UnitParams unit{id_.name, {}};
    block_.collect(unit.params);
    return unit;
  }

 private:
  UnitId id_;
  Block block_;
};

}  // namespace trireme::nn
