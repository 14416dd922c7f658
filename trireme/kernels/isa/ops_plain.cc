// Built with this instruction set's flags (CMakeLists.txt); see ops.inl.
#define TRIREME_ISA_TABLE kOpsPlain
#define TRIREME_ISA_NAME "plain"
#include "trireme/kernels/isa/ops.inl"
