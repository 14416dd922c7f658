// GPT-2 against Hugging Face's, by the fixtures of tests/golden/make_gpt2.py: logits, losses, all
// gradients.
#include "trireme/models/gpt2.h"

#include <gtest/gtest.h>

#include "tests/models/golden.h"
#include "trireme/base/error.h"
#include "trireme/nn/loss.h"

namespace trireme::models {
namespace {

using trireme::testing::distance;
using trireme::testing::expect_gradients;
using trireme::testing::GoldenCase;
using trireme::testing::load_golden;
using trireme::testing::real_rows;
using trireme::testing::tensor;

// Each row's next token; none at the end of a sequence and behind the last.
at::Tensor next_tokens(const GoldenCase& golden) {
  at::Tensor labels = at::full_like(golden.context.tokens, -1);
  int64_t row = 0;
  for (const int32_t length : golden.lengths) {
    if (length > 1) {
      labels.narrow(0, row, length - 1).copy_(golden.context.tokens.narrow(0, row + 1, length - 1));
    }
    row += length;
  }
  return labels;
}

double run(Gpt2LmHeadModel& model, GoldenCase& golden) {
  const at::Tensor labels = next_tokens(golden);
  const at::Tensor loss =
      nn::cross_entropy(model.forward(golden.context), labels, (labels >= 0).sum().item<int64_t>());
  loss.backward();
  return loss.item<double>();
}

// The same through the head's own loss, which never makes all the logits.
double run_with_labels(Gpt2LmHeadModel& model, GoldenCase& golden) {
  nn::Context context = golden.context;
  context.labels = next_tokens(golden);
  context.label_count = (context.labels >= 0).sum().item<int64_t>();
  const at::Tensor loss = model.forward(context);
  loss.backward();
  return loss.item<double>();
}

class Gpt2Test : public ::testing::TestWithParam<const char*> {};

TEST_P(Gpt2Test, EqualsHuggingFace) {
  GoldenCase golden(GetParam());
  auto model = load_golden<Gpt2LmHeadModel, Gpt2Config>(GetParam());
  const at::Tensor expected = golden.packed("logits");
  EXPECT_LE(distance(real_rows(model->forward(golden.context), golden), expected),
            1e-5 * expected.norm().item<double>());
  EXPECT_NEAR(run(*model, golden), tensor(golden.expected, "loss").item<double>(), 1e-5);
  expect_gradients(model->units(), golden, 1e-5);
}

TEST_P(Gpt2Test, LossOfTheHeadEqualsHuggingFace) {
  GoldenCase golden(GetParam());
  auto model = load_golden<Gpt2LmHeadModel, Gpt2Config>(GetParam());
  EXPECT_NEAR(run_with_labels(*model, golden), tensor(golden.expected, "loss").item<double>(),
              1e-5);
  expect_gradients(model->units(), golden, 1e-5);
}

// The oracle of bf16 is fp32 with the same, rounded weights: what is left are the activations'
// roundings.
TEST_P(Gpt2Test, Bf16StaysClose) {
  GoldenCase golden(GetParam());
  auto exact = load_golden<Gpt2LmHeadModel, Gpt2Config>(GetParam());
  auto bf16 = load_golden<Gpt2LmHeadModel, Gpt2Config>(GetParam(), at::kBFloat16);
  for (const nn::UnitParams& unit : exact->units()) {
    for (nn::Param* param : unit.params) param->value.copy_(param->value.to(at::kBFloat16));
  }
  const double expected = run(*exact, golden);
  EXPECT_NEAR(run(*bf16, golden), expected, 2e-2 * expected);
  EXPECT_LT(trireme::testing::gradient_error(bf16->units(), exact->units()), 0.03);
}

INSTANTIATE_TEST_SUITE_P(Cases, Gpt2Test,
                         ::testing::Values("gpt2/tied", "gpt2/untied", "gpt2/one-head",
                                           "gpt2/odd-sizes"));

// A sequence's logits do not see what stands beside it.
TEST(Gpt2, PackedSequencesAreApart) {
  GoldenCase golden("gpt2/tied");
  auto model = load_golden<Gpt2LmHeadModel, Gpt2Config>("gpt2/tied");
  const at::Tensor before = model->forward(golden.context).detach();
  const int64_t first = golden.lengths[0];
  golden.context.tokens.narrow(0, 0, first).fill_(7);
  const at::Tensor after = model->forward(golden.context).detach();
  const int64_t rest = golden.seq.real_tokens() - first;
  EXPECT_FALSE(at::equal(before.narrow(0, 0, first), after.narrow(0, 0, first)));
  EXPECT_TRUE(at::equal(before.narrow(0, first, rest), after.narrow(0, first, rest)));
}

TEST(Gpt2, DropoutIsByCounter) {
  GoldenCase golden("gpt2/tied");
  trireme::testing::expect_dropout_by_counter(
      *load_golden<Gpt2LmHeadModel, Gpt2Config>("gpt2/tied"), golden);
}

// ready() comes once a Param, and the tied table's last of all.
TEST(Gpt2, ReadinessOfTheTiedTable) {
  struct Log : nn::GradSink {
    std::vector<std::string> ready;
    void param_ready(nn::Param& param) override { ready.push_back(param.spec.name); }
  } log;
  GoldenCase golden("gpt2/tied");
  auto model = load_golden<Gpt2LmHeadModel, Gpt2Config>("gpt2/tied");
  const std::vector<nn::Param*> params = nn::params_once(model->units());
  for (nn::Param* param : params) param->sink = &log;
  run(*model, golden);
  EXPECT_EQ(log.ready.size(), params.size());
  EXPECT_NE(std::find(log.ready.end() - 2, log.ready.end(), "transformer.wte.weight"),
            log.ready.end());
}

TEST(Gpt2Config, ReadsAndWrites) {
  const std::string path = trireme::testing::golden_folder("gpt2/odd-sizes") + "/config.json";
  const Gpt2Config c = Gpt2Config::from_json(read_json_file(path), path);
  EXPECT_EQ(c.n_embd, 30);
  EXPECT_EQ(c.n_head, 3);
  EXPECT_EQ(c.n_inner, 50);
  const Json again = Gpt2Config::from_json(c.to_json("GPT2LMHeadModel"), "again").to_json("X");
  EXPECT_EQ(again, c.to_json("X"));
  EXPECT_EQ(Gpt2Config::from_json({{"model_type", "gpt2"}, {"n_embd", 96}}, "x").n_inner, 384);
}

TEST(Gpt2Config, RefusesWhatItWouldNotCompute) {
  const std::vector<std::pair<Json, std::string>> cases = {
      {{{"model_type", "bert"}}, "model_type 'bert'"},
      {{{"activation_function", "relu"}}, "activation_function 'relu'"},
      {{{"scale_attn_weights", false}}, "scale_attn_weights false"},
      {{{"scale_attn_by_inverse_layer_idx", true}}, "scale_attn_by_inverse_layer_idx true"},
      {{{"add_cross_attention", true}}, "add_cross_attention true"},
      {{{"n_head", 5}, {"n_embd", 12}}, "n_embd 12 does not divide over 5"},
      {{{"n_layer", 0}}, "n_layer is 0"},
      {{{"n_inner", -1}}, "n_inner is -1"},
      {{{"resid_pdrop", 1.0}}, "resid_pdrop is 1"},
  };
  for (const auto& [json, message] : cases) {
    try {
      Gpt2Config::from_json(json, "config.json");
      ADD_FAILURE() << message;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace trireme::models
