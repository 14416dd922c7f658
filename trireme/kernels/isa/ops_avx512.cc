// Built with this instruction set's flags (CMakeLists.txt); see ops.inl.
#define TRIREME_ISA_TABLE kOpsAvx512
#define TRIREME_ISA_NAME "avx512"
#include "trireme/kernels/isa/ops.inl"
