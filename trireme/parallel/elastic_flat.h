// A flat tensor whose memory comes and goes while views of it stay: ZeRO's gathered values and
// whole gradients, which are there only while a unit runs. Whoever holds a view (a Param, a foreign
// module's leaf, autograd) sees the new memory without being told.
//
//   ElasticFlat values(numel, at::kFloat);      // no memory
//   param.value = values.tensor().narrow(...);  // once
//   values.take(at::empty({numel}));            // now views can be read
//   values.free();                              // and no longer
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace trireme::parallel {

class ElasticFlat {
 public:
  ElasticFlat() = default;  // no tensor at all
  ElasticFlat(int64_t numel, at::ScalarType dtype);

  // [numel]; to be read or written only while live.
  const at::Tensor& tensor() const { return tensor_; }
  bool live() const { return memory_.defined(); }
  // What take() was given: the same memory, under a tensor that keeps it (for operations that may
  // outlast free()). Undefined when not live.
  const at::Tensor& memory() const { return memory_; }
  // Makes `memory` (flat, of the same size and dtype) this tensor's memory until free().
  void take(at::Tensor memory);
  void free();

 private:
  at::Tensor tensor_, memory_;
};

}  // namespace trireme::parallel
