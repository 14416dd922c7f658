// Built with this instruction set's flags (CMakeLists.txt); see ops.inl.
#define TRIREME_ISA_TABLE kOpsAvx2
#define TRIREME_ISA_NAME "avx2"
#include "trireme/kernels/isa/ops.inl"
