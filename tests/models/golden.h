// The golden cases of tests/golden/make_bert.py, packed: padded rows of the fixture become rows end
// to end.
#pragma once

#include <ATen/ATen.h>

#include <cstring>
#include <string>
#include <vector>

#include "trireme/io/safetensors.h"
#include "trireme/kernels/seq_info.h"
#include "trireme/nn/context.h"

namespace trireme::testing {

inline std::string golden_folder(const std::string& name) {
  return std::string(TRIREME_SOURCE_DIR) + "/tests/golden/bert/" + name;
}

inline at::Tensor tensor(const io::TensorSource& file, const std::string& name) {
  const io::TensorView view = file.view(name);
  const at::ScalarType dtype = view.dtype == io::Dtype::kI64 ? at::kLong : at::kFloat;
  at::Tensor out = at::empty(at::IntArrayRef(view.shape.data(), view.shape.size()), dtype);
  std::memcpy(out.data_ptr(), view.bytes.data(), view.bytes.size());
  return out;
}

struct GoldenCase {
  explicit GoldenCase(const std::string& name)
      : expected(golden_folder(name) + "/expected.safetensors") {
    const at::Tensor mask = tensor(expected, "attention_mask");
    for (int64_t b = 0; b < mask.size(0); ++b) lengths.push_back(mask[b].sum().item<int32_t>());
    seq = kernels::SeqInfo::self(lengths);
    const int64_t padding = (seq.real_tokens() + 63) / 64 * 64 - seq.real_tokens();
    auto padded = [&](const at::Tensor& x) { return at::constant_pad_nd(x, {0, padding}, 0); };
    context.seq = &seq;
    context.tokens = padded(packed("input_ids"));
    context.token_types = padded(packed("token_type_ids"));
    std::vector<at::Tensor> positions, samples;
    for (size_t b = 0; b < lengths.size(); ++b) {
      positions.push_back(at::arange(lengths[b], at::kLong));
      samples.push_back(at::full({lengths[b]}, static_cast<int64_t>(b), at::kInt));
    }
    context.positions = padded(at::cat(positions));
    context.dropout = {7, 1, padded(at::cat(samples)), context.positions.to(at::kInt)};
  }
  // Rows of a padded [B, L, ...] fixture, end to end.
  at::Tensor packed(const std::string& name) const {
    const at::Tensor padded = tensor(expected, name);
    std::vector<at::Tensor> rows;
    for (size_t b = 0; b < lengths.size(); ++b)
      rows.push_back(padded[static_cast<int64_t>(b)].narrow(0, 0, lengths[b]));
    return at::cat(rows);
  }

  io::SafetensorsFile expected;
  std::vector<int32_t> lengths;
  kernels::SeqInfo seq;
  nn::Context context;
};

}  // namespace trireme::testing
