#include "trireme/data/lm_batch.h"

namespace trireme::data {

PackedBatch pack_lm(std::span<const LmBatchItem> items, int64_t rows) {
  std::vector<std::vector<int32_t>> ids;
  std::vector<std::vector<int64_t>> next;
  std::vector<int32_t> ordinals;
  for (const LmBatchItem& item : items) {
    for (const LmPiece& piece : item.pieces) {
      std::vector<int32_t> read(static_cast<size_t>(piece.length + (piece.goes_on ? 1 : 0)));
      piece.corpus->read(piece.document, piece.begin, read);
      next.emplace_back(read.begin() + 1, read.end());
      if (!piece.goes_on) next.back().push_back(-1);
      read.resize(static_cast<size_t>(piece.length));
      ids.push_back(std::move(read));
      ordinals.push_back(item.ordinal);
    }
  }
  std::vector<PackSample> samples;
  for (size_t i = 0; i < ids.size(); ++i)
    samples.push_back({.ids = ids[i], .ordinal = ordinals[i]});
  PackedBatch batch = pack(samples, {.rows = rows, .token_types = false});
  batch.labels[kLmNext] = pack_rows(batch, next, -1);
  return batch;
}

int64_t predicted_tokens(std::span<const LmPiece> pieces) {
  int64_t count = 0;
  for (const LmPiece& piece : pieces) count += piece.length - (piece.goes_on ? 0 : 1);
  return count;
}

}  // namespace trireme::data
