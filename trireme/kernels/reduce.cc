#include "trireme/kernels/reduce.h"

#include "trireme/kernels/isa.h"

namespace trireme::kernels {

isa::Reduce reducer(c10::ScalarType dtype) {
  const isa::ReduceOps& ops = ops_table().reduce;
  switch (dtype) {
    case c10::ScalarType::Float:
      return ops.fp32;
    case c10::ScalarType::Double:
      return ops.fp64;
    case c10::ScalarType::Half:
      return ops.fp16;
    case c10::ScalarType::BFloat16:
      return ops.bf16;
    case c10::ScalarType::Int:
      return ops.int32;
    case c10::ScalarType::Long:
      return ops.int64;
    default:
      return nullptr;
  }
}

}  // namespace trireme::kernels
