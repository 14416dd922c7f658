#include "trireme/kernels/isa.h"

#include <cstdlib>
#include <string>

#include "trireme/base/error.h"

namespace trireme::kernels {

const isa::OpsTable* find_ops_table(const char* name) {
  const std::string wanted = name;
  if (wanted == "plain") return &isa::kOpsPlain;
#if defined(__x86_64__)
  if (wanted == "avx2" && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return &isa::kOpsAvx2;
  if (wanted == "avx512" && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return &isa::kOpsAvx512;
  }
#endif
  return nullptr;
}

const isa::OpsTable& ops_table() {
  static const isa::OpsTable& table = []() -> const isa::OpsTable& {
    if (const char* asked = std::getenv("TRIREME_ISA")) {
      if (const isa::OpsTable* found = find_ops_table(asked)) return *found;
      throw input_error("TRIREME_ISA=", asked,
                        ": not one of plain, avx2, avx512 that this processor has");
    }
    for (const char* name : {"avx512", "avx2"})
      if (const isa::OpsTable* found = find_ops_table(name)) return *found;
    return isa::kOpsPlain;
  }();
  return table;
}

}  // namespace trireme::kernels
