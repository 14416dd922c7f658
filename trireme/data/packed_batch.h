// The only batch there is: sequences end to end, without padding between them; training, evaluation
// and serving, encoder and decoder alike.
//
//   PackedBatch batch = pack(samples, {.rows = micro.rows});
//   context.tokens = batch.tokens; context.seq = &batch.seq; ...
//
// T = real tokens rounded up to 64. The rows behind the last sequence belong to none: token 0,
// position 0, no loss, attention output 0.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "trireme/kernels/dropout.h"
#include "trireme/kernels/seq_info.h"

namespace trireme::data {

struct PackedBatch {
  at::Tensor tokens;            // int64 [T]
  at::Tensor positions;         // int64 [T], from 0 in each sequence
  at::Tensor token_types;       // int64 [T], or undefined where the model has none
  kernels::SeqInfo seq;         // B sequences
  std::vector<int32_t> sample;  // [B] ordinal of each one's sample in the step's global batch
  // [B] names each one's draws of dropout: by its sample and which of the sample's sequences it is.
  std::vector<int32_t> draw;
  // What the task learns, by the names that the task gives: int64 [B] (one a sequence) or int64 [T]
  // (one a row, -1 where none).
  std::map<std::string, at::Tensor> labels;

  int64_t rows() const { return tokens.defined() ? tokens.size(0) : 0; }  // T
  int64_t sequences() const { return seq.sequences(); }                   // B
  int64_t real_tokens() const { return seq.real_tokens(); }

  // Names the draws of this batch: by each row's sample and position, so that a sample's draws are
  // the same in whatever batch it comes. Each sequence of a sample has draws of its own.
  kernels::DropoutKey dropout_key(uint64_t seed, uint64_t step) const;
};

// One sequence to pack. `ids` must stay until pack() returns.
struct PackSample {
  std::span<const int32_t> ids;
  int32_t ordinal = 0;  // in the step's global batch
  // Token types are 0 before this row of the sequence and 1 from it on.
  int32_t second_segment = std::numeric_limits<int32_t>::max();
};

struct PackOptions {
  int64_t rows = 0;         // T; 0: the real tokens rounded up to 64, at least 64
  bool token_types = true;  // false: leave them undefined
};

// Sequences of one sample stand side by side. Throws input_error for a sequence without tokens, or
// when `rows` does not hold all tokens.
PackedBatch pack(std::span<const PackSample> samples, const PackOptions& options);

// Values for every token of every sequence (same lengths as the batch's), as a label: int64 [T],
// `fill` in the rows behind.
at::Tensor pack_rows(const PackedBatch& batch, std::span<const std::vector<int64_t>> values,
                     int64_t fill);

}  // namespace trireme::data
