// Safetensors: what is accepted lies inside the file, without overlap.
#include <span>

#include "tests/fuzz/fuzz.h"
#include "trireme/io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return trireme::fuzz::one_input(data, size, [](std::string_view text) {
    const auto header =
        trireme::io::parse_safetensors(std::as_bytes(std::span(text)), "fuzz.safetensors");
    uint64_t end = 0;
    for (size_t i = 0; i < header.tensors.size(); ++i) {
      const auto bytes =
          trireme::io::tensor_bytes(header.tensors[i].dtype, header.tensors[i].shape);
      if (!bytes || header.offsets[i] < end) std::abort();
      end = header.offsets[i] + *bytes;
    }
    if (end > text.size()) std::abort();
  });
}
