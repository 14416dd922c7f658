// tokenizer.json: what loads tokenises any text, with offsets inside it.
#include "tests/fuzz/fuzz.h"
#include "trireme/text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return trireme::fuzz::one_input(data, size, [](std::string_view text) {
    const auto tokenizer = trireme::text::Tokenizer::from_json(text, "fuzz.json");
    constexpr std::string_view kSample =
        "Caf\xC3\xA9 \xE4\xB8\xAD [MASK] don't \xFF\t 12,345 \xF0\x9F\x98\x80";
    const auto encoding = tokenizer.encode(kSample);
    for (const auto& offset : encoding.offsets) {
      if (offset.begin > offset.end || offset.end > kSample.size()) std::abort();
    }
    tokenizer.decode(encoding.ids, true);
  });
}
