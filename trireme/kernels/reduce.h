// Sum, minimum, maximum or mean of several arrays: what collectives in shared memory do with the
// ranks' buffers.
//
//   const void* from[] = {a, b};  void* to[] = {a, b};
//   reducer(at::kBFloat16)(isa::Reduction::kSum, from, 2, to, 2, n);
#pragma once

#include <c10/core/ScalarType.h>

#include "trireme/kernels/isa/ops_table.h"

namespace trireme::kernels {

// For float32, float64, float16, bfloat16, int32 and int64 (see isa::Reduce); null for others. The
// result does not depend on the instruction set.
isa::Reduce reducer(c10::ScalarType dtype);

}  // namespace trireme::kernels
