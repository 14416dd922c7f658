// The golden cases of tests/golden/make_bert.py and make_gpt2.py, packed: padded rows of the
// fixture become rows end to end.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "trireme/base/json.h"
#include "trireme/io/safetensors.h"
#include "trireme/kernels/seq_info.h"
#include "trireme/models/weights.h"
#include "trireme/nn/context.h"
#include "trireme/nn/param.h"

namespace trireme::testing {

// Of a case, "bert/qa".
inline std::string golden_folder(const std::string& name) {
  return std::string(TRIREME_SOURCE_DIR) + "/tests/golden/" + name;
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
    if (expected.find("token_type_ids") != nullptr)
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

// The case's model with its weights, and room for gradients.
template <class Model, class Config>
std::unique_ptr<Model> load_golden(const std::string& name, at::ScalarType dtype = at::kFloat) {
  const std::string config = golden_folder(name) + "/config.json";
  auto model = std::make_unique<Model>(Config::from_json(read_json_file(config), config));
  nn::allocate_values(model->units(), dtype);
  nn::allocate_grads(model->units());
  models::load_complete(io::SafetensorsFile(golden_folder(name) + "/model.safetensors"),
                        model->units());
  return model;
}

inline double distance(const at::Tensor& a, const at::Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).norm().item<double>();
}

// Contract 1: ||g - g'|| <= relative ||g'|| + 1e-2 relative ||all gradients||, for each tensor of
// the fixture.
inline void expect_gradients(const std::vector<nn::UnitParams>& units, const GoldenCase& golden,
                             double relative) {
  double all = 0.0;
  size_t named = 0;
  for (const io::TensorInfo& info : golden.expected.tensors()) {
    if (!info.name.starts_with("grad.")) continue;
    ++named;
    all += std::pow(tensor(golden.expected, info.name).norm().item<double>(), 2);
  }
  all = std::sqrt(all);
  size_t compared = 0;
  for (const nn::Param* param : nn::params_once(units)) {
    for (const nn::PartView& part : nn::part_views(*param, param->main_grad)) {
      const at::Tensor expected = tensor(golden.expected, "grad." + part.part->name);
      EXPECT_LE(distance(part.view, expected),
                relative * expected.norm().item<double>() + relative * 1e-2 * all)
          << part.part->name;
      ++compared;
    }
  }
  EXPECT_EQ(compared, named);
}

// || gradients - expected || / || expected ||, over all parameters of two models alike.
inline double gradient_error(const std::vector<nn::UnitParams>& units,
                             const std::vector<nn::UnitParams>& expected) {
  double squares = 0.0, differences = 0.0;
  for (size_t u = 0; u < units.size(); ++u) {
    for (size_t p = 0; p < units[u].params.size(); ++p) {
      const at::Tensor& g = expected[u].params[p]->main_grad;
      squares += std::pow(g.norm().item<double>(), 2);
      differences += std::pow(distance(units[u].params[p]->main_grad, g), 2);
    }
  }
  return std::sqrt(differences / squares);
}

// The same step redraws the same masks, another step others, and evaluation none.
template <class Model>
void expect_dropout_by_counter(Model& model, GoldenCase& golden) {
  const at::Tensor plain = model.forward(golden.context).detach();
  golden.context.training = true;
  const at::Tensor first = model.forward(golden.context).detach();
  EXPECT_FALSE(at::allclose(plain, first));
  EXPECT_TRUE(at::equal(first, model.forward(golden.context).detach()));
  golden.context.dropout.step = 2;
  EXPECT_FALSE(at::equal(first, model.forward(golden.context).detach()));
}

inline at::Tensor real_rows(const at::Tensor& x, const GoldenCase& golden) {
  return x.detach().narrow(0, 0, golden.seq.real_tokens()).to(at::kFloat);
}

}  // namespace trireme::testing
