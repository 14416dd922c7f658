// From a Dropout and its key to what the row kernels take.
#pragma once

#include "trireme/kernels/dropout.h"
#include "trireme/kernels/isa/ops_table.h"

namespace trireme::kernels {

// Pointers are into key's tensors, which must outlive the result. p = 0 gives threshold 0 (nothing
// is drawn). Throws input_error unless 0 <= p < 1.
isa::RowDropout row_dropout(const Dropout& dropout, const DropoutKey& key);

}  // namespace trireme::kernels
