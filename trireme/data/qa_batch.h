// Windows of questions as a packed batch.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "trireme/data/packed_batch.h"
#include "trireme/data/qa_windows.h"

namespace trireme::data {

inline const std::string kQaStart = "start";  // int64 [B]: first row of the answer in its sequence
inline const std::string kQaEnd = "end";      // int64 [B]: last row

// A window and its ordinal in the step's global batch.
struct QaBatchItem {
  const QaWindow* window = nullptr;
  int32_t ordinal = 0;
};

// Token types are 1 from the context on; labels kQaStart and kQaEnd. `rows` as in PackOptions.
PackedBatch pack_qa(std::span<const QaBatchItem> items, int64_t rows = 0);

}  // namespace trireme::data
