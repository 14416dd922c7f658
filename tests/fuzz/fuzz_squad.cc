// SQuAD files: every answer that is accepted stands in its context where it says.
#include "tests/fuzz/fuzz.h"
#include "trireme/data/squad.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return trireme::fuzz::one_input(data, size, [](std::string_view text) {
    trireme::data::parse_squad(text, "fuzz.json", {}, [](trireme::data::QaExample&& example) {
      for (const auto& answer : example.answers) {
        if (example.context->find(answer.text) == std::string::npos) std::abort();
      }
    });
  });
}
