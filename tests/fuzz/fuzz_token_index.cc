// Indexes of token shards: what is accepted lies inside the data file.
#include "tests/fuzz/fuzz.h"
#include "trireme/data/token_shards.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return trireme::fuzz::one_input(data, size, [](std::string_view text) {
    constexpr uint64_t kDataBytes = 1000;
    const auto index = trireme::data::parse_token_index(text, kDataBytes, "fuzz.idx");
    const auto token = static_cast<uint64_t>(trireme::data::token_bytes(index.type));
    for (size_t i = 0; i < index.lengths.size(); ++i) {
      const auto end =
          static_cast<uint64_t>(index.places[i]) + static_cast<uint64_t>(index.lengths[i]) * token;
      if (end > kDataBytes) std::abort();
    }
    if (index.documents.back() != static_cast<int64_t>(index.lengths.size())) std::abort();
  });
}
