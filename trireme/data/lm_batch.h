// Windows of documents as a packed batch for a language model.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "trireme/data/lm_windows.h"
#include "trireme/data/packed_batch.h"

namespace trireme::data {

// The label: each row's next token in its document, int64 [T]; -1 where there is none.
inline constexpr const char* kLmNext = "next";

struct LmBatchItem {
  std::vector<LmPiece> pieces;  // of one window
  int32_t ordinal = 0;          // in the step's global batch
};

// Each piece is a sequence of its own: positions begin at 0, attention does not cross documents.
// The label of a piece's last token is the document's next one, though that is another window's
// input: so every token but a document's first is predicted once, every token but its last
// predicts. No items: 64 padding rows.
PackedBatch pack_lm(std::span<const LmBatchItem> items, int64_t rows = 0);

// Rows of the pieces that have a label.
int64_t predicted_tokens(std::span<const LmPiece> pieces);

}  // namespace trireme::data
