// Small token shards on disk for tests: every token of a corpus is told apart by its value.
#pragma once

#include <string>
#include <vector>

#include "trireme/data/token_shards.h"

namespace trireme::testing {

// Writes a shard with documents of these lengths; its tokens are first, first + 1, ...
inline void write_corpus(const std::string& prefix, const std::vector<int64_t>& lengths,
                         int64_t first = 0) {
  data::TokenShardWriter writer(prefix, 65000);
  for (const int64_t length : lengths) {
    std::vector<int32_t> document;
    for (int64_t i = 0; i < length; ++i) document.push_back(static_cast<int32_t>(first++));
    writer.add(document);
  }
  writer.commit();
}

}  // namespace trireme::testing
