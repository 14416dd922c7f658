// Units: the blocks whose beginning and end an engine must see (ZeRO-3 gathers, recompute, pipeline
// stages). C++ modules have no forward hooks, so blocks are called through Unit<Block>:
//
//   nn::Unit<BertLayer> layer{3, "layer.3", config};   // the last arguments build the block
//   x_th = layer(x_th, context);
//
// Identity autograd nodes before and after the block tell when its backward begins and ends.
//
// A block has `forward(const at::Tensor& x_th, Context&, ...)`, which returns one tensor or a
// std::array of them, and `void collect(std::vector<Param*>&)` for all Params that forward or
// backward read, those of other units (a tied weight) included. It may say
//   static constexpr bool kRecompute = false;            // not worth it: little is kept
//   static constexpr bool kBackwardReadsValues = false;  // no Param::value is read in backward
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "trireme/nn/context.h"
#include "trireme/nn/param.h"

namespace trireme::nn {

struct UnitId {
  int index;         // in the model's order of forward
  std::string name;  // for messages and traces
};

// Called on the thread that runs forward or backward, in program order on every rank. The defaults
// do nothing. A unit whose outputs no loss depends on has no backward.
class UnitHooks {
 public:
  virtual ~UnitHooks() = default;
  virtual void before_forward(const UnitId&) {}
  virtual void after_forward(const UnitId&) {}
  virtual void before_backward(const UnitId&) {}
  virtual void after_backward(const UnitId&) {}
};

namespace internal {

using Tensors = std::vector<at::Tensor>;
using UnitForward = std::function<Tensors(const at::Tensor& x, Context& context)>;

// Forward between the hooks and, in a graph, between the marks that call them in backward.
Tensors call_unit(const UnitId& id, const at::Tensor& x, Context& context,
                  const UnitForward& forward);
// The same without keeping more than x: in backward forward runs again (Chen et al., "Training Deep
// Nets with Sublinear Memory Cost", 2016). Dropout draws by counter and at::Generator's state is
// put back, so both runs give the same bits.
Tensors call_unit_recomputing(const UnitId& id, const at::Tensor& x, Context& context,
                              const UnitForward& forward);

template <class Block>
constexpr bool recomputes() {
  if constexpr (requires { Block::kRecompute; }) return Block::kRecompute;
  return true;
}
template <class Block>
constexpr bool backward_reads_values() {
  if constexpr (requires { Block::kBackwardReadsValues; }) return Block::kBackwardReadsValues;
  return true;
}

inline Tensors to_tensors(at::Tensor y) {
  return {std::move(y)};
}
template <size_t kN>
Tensors to_tensors(const std::array<at::Tensor, kN>& ys) {
  return {ys.begin(), ys.end()};
}
template <class Result>
Result from_tensors(Tensors ys) {
  if constexpr (std::is_same_v<Result, at::Tensor>) {
    return std::move(ys[0]);
  } else {
    Result result;
    for (size_t i = 0; i < result.size(); ++i) result[i] = std::move(ys[i]);
    return result;
  }
}

}  // namespace internal

template <class Block>
class Unit {
 public:
  template <class... Args>
  Unit(int index, std::string name, Args&&... args)
      : id_{index, std::move(name)}, block_(std::forward<Args>(args)...) {}

  // `rest` goes to the block's forward as it is, by copy where forward runs again.
  template <class... Rest>
  auto operator()(const at::Tensor& x, Context& context, const Rest&... rest) {
    using Result = decltype(block_.forward(x, context, rest...));
    constexpr bool kRecompute = internal::recomputes<Block>();
    static_assert(!kRecompute || internal::backward_reads_values<Block>(),
                  "a block that is recomputed reads its values in backward");
    const bool recompute = kRecompute && context.recompute;
    if (context.hooks == nullptr && !recompute) return block_.forward(x, context, rest...);
    const internal::UnitForward forward = [this, rest...](const at::Tensor& input, Context& c) {
      return internal::to_tensors(block_.forward(input, c, rest...));
    };
    return internal::from_tensors<Result>(
        recompute ? internal::call_unit_recomputing(id_, x, context, forward)
                  : internal::call_unit(id_, x, context, forward));
  }

  const UnitId& id() const { return id_; }
  Block& block() { return block_; }
  UnitParams params() {
    UnitParams unit{.name = id_.name,
                    .params = {},
                    .called_as_unit = true,
                    .backward_reads_values = internal::backward_reads_values<Block>()};
    block_.collect(unit.params);
    return unit;
  }

 private:
  UnitId id_;
  Block block_;
};

}  // namespace trireme::nn
