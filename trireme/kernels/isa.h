// The instruction set of the row kernels: picked once from what the processor has;
// TRIREME_ISA=plain|avx2|avx512 asks for a smaller one (tests compare them).
#pragma once

#include "trireme/kernels/isa/ops_table.h"

namespace trireme::kernels {

// Throws input_error when TRIREME_ISA names something unknown or something that this processor
// lacks.
const isa::OpsTable& ops_table();

// A table by name, or nullptr where this processor or build lacks it.
const isa::OpsTable* find_ops_table(const char* name);

}  // namespace trireme::kernels
