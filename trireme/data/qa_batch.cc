#include "trireme/data/qa_batch.h"

#include <ATen/ATen.h>

#include <vector>

namespace trireme::data {

PackedBatch pack_qa(std::span<const QaBatchItem> items, int64_t rows) {
  std::vector<PackSample> samples;
  std::vector<int64_t> starts, ends;
  for (const QaBatchItem& item : items) {
    samples.push_back({.ids = item.window->ids,
                       .ordinal = item.ordinal,
                       .second_segment = item.window->context_begin});
    starts.push_back(item.window->start);
    ends.push_back(item.window->end);
  }
  PackedBatch batch = pack(samples, {.rows = rows});
  batch.labels[kQaStart] = at::tensor(starts, at::kLong);
  batch.labels[kQaEnd] = at::tensor(ends, at::kLong);
  return batch;
}

}  // namespace trireme::data
