#include "trireme/data/packed_batch.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "trireme/base/error.h"
#include "trireme/data/plan_step.h"

namespace trireme::data {
namespace {

// Between the draws of two sequences of one sample: more than a global batch has samples. (Where it
// is not, two sequences far apart share draws; nothing else comes of it.)
constexpr uint32_t kPieceStride = 1U << 20;

int64_t wanted_rows(int64_t real_tokens, const PackOptions& options) {
  if (options.rows == 0) {
    return std::max<int64_t>(1, (real_tokens + kRowMultiple - 1) / kRowMultiple) * kRowMultiple;
  }
  if (options.rows < real_tokens) {
    throw input_error("a packed batch of ", options.rows, " rows cannot hold ", real_tokens,
                      " tokens");
  }
  return options.rows;
}

}  // namespace

PackedBatch pack(std::span<const PackSample> samples, const PackOptions& options) {
  PackedBatch batch;
  std::vector<int32_t> lengths;
  uint32_t piece = 0;  // of its sample
  for (const PackSample& sample : samples) {
    lengths.push_back(static_cast<int32_t>(sample.ids.size()));
    const bool goes_on = !batch.sample.empty() && batch.sample.back() == sample.ordinal;
    piece = goes_on ? piece + 1 : 0;
    batch.sample.push_back(sample.ordinal);
    batch.draw.push_back(
        static_cast<int32_t>(static_cast<uint32_t>(sample.ordinal) + piece * kPieceStride));
  }
  batch.seq = kernels::SeqInfo::self(lengths);

  const int64_t T = wanted_rows(batch.seq.real_tokens(), options);
  batch.tokens = at::zeros({T}, at::kLong);
  batch.positions = at::zeros({T}, at::kLong);
  if (options.token_types) batch.token_types = at::zeros({T}, at::kLong);
  auto* tokens = batch.tokens.mutable_data_ptr<int64_t>();
  auto* positions = batch.positions.mutable_data_ptr<int64_t>();
  auto* types = options.token_types ? batch.token_types.mutable_data_ptr<int64_t>() : nullptr;
  int64_t row = 0;
  for (const PackSample& sample : samples) {
    for (size_t i = 0; i < sample.ids.size(); ++i, ++row) {
      const auto position = static_cast<int64_t>(i);
      tokens[row] = sample.ids[i];
      positions[row] = position;
      if (types != nullptr) types[row] = position >= sample.second_segment ? 1 : 0;
    }
  }
  return batch;
}

kernels::DropoutKey PackedBatch::dropout_key(uint64_t seed, uint64_t step) const {
  kernels::DropoutKey key;
  key.seed = seed;
  key.step = step;
  key.row_sample = at::zeros({rows()}, at::kInt);
  auto* samples = key.row_sample.mutable_data_ptr<int32_t>();
  for (size_t b = 0; b < draw.size(); ++b)
    std::fill(samples + seq.cu_q_host[b], samples + seq.cu_q_host[b + 1], draw[b]);
  key.row_position = positions.to(at::kInt);
  return key;
}

at::Tensor pack_rows(const PackedBatch& batch, std::span<const std::vector<int64_t>> values,
                     int64_t fill) {
  if (static_cast<int64_t>(values.size()) != batch.sequences()) {
    throw input_error("labels of ", values.size(), " sequences for a batch of ", batch.sequences());
  }
  at::Tensor out = at::full({batch.rows()}, fill, at::kLong);
  auto* rows = out.mutable_data_ptr<int64_t>();
  for (size_t b = 0; b < values.size(); ++b) {
    const int64_t begin = batch.seq.cu_q_host[b];
    const int64_t length = batch.seq.cu_q_host[b + 1] - begin;
    if (static_cast<int64_t>(values[b].size()) != length) {
      throw input_error("sequence ", b, " of the batch has ", length, " tokens, but ",
                        values[b].size(), " labels");
    }
    std::copy(values[b].begin(), values[b].end(), rows + begin);
  }
  return out;
}

}  // namespace trireme::data
