// MKL takes slow paths on processors of other makers; it asks this function, and an executable that
// defines it answers yes (AVX-512 and AVX2 kernels then run on AMD too: 2.2x in fp32). An object of
// each executable, not of the library: libtorch_cpu has the symbol as well, and the executable's
// comes first. TRIREME_MKL_ANSWER=0 leaves MKL's own answer (0: "not Intel") on such machines. Read
// once, before the first product.
#include <cstdlib>
#include <cstring>

extern "C" __attribute__((visibility("default"))) int mkl_serv_intel_cpu_true() {
  static const bool yes = [] {
    const char* setting = std::getenv("TRIREME_MKL_ANSWER");
    if (setting == nullptr || std::strcmp(setting, "0") != 0) return true;
    return __builtin_cpu_is("intel") != 0;
  }();
  return yes ? 1 : 0;
}
