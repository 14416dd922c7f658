// BERT against Hugging Face's, by the fixtures of tests/golden/make_bert.py: logits, losses, all
// gradients.
#include "trireme/models/bert.h"

#include <gtest/gtest.h>

#include "tests/models/golden.h"
#include "trireme/nn/loss.h"

namespace trireme::models {
namespace {

using trireme::testing::distance;
using trireme::testing::expect_gradients;
using trireme::testing::GoldenCase;
using trireme::testing::real_rows;
using trireme::testing::tensor;

template <class Model>
std::unique_ptr<Model> load(const std::string& name, at::ScalarType dtype = at::kFloat) {
  return trireme::testing::load_golden<Model, BertConfig>(name, dtype);
}

class BertQaTest : public ::testing::TestWithParam<const char*> {};

TEST_P(BertQaTest, EqualsHuggingFace) {
  GoldenCase golden(GetParam());
  auto model = load<BertForQuestionAnswering>(GetParam());
  const at::Tensor logits = model->forward(golden.context);
  const at::Tensor expected = golden.packed("logits");
  EXPECT_LE(distance(real_rows(logits, golden), expected), 1e-5 * expected.norm().item<double>());
  const at::Tensor loss =
      nn::span_loss(logits, tensor(golden.expected, "start_positions"),
                    tensor(golden.expected, "end_positions"), golden.seq, golden.seq.sequences());
  EXPECT_NEAR(loss.item<double>(), tensor(golden.expected, "loss").item<double>(), 1e-5);
  loss.backward();
  expect_gradients(model->units(), golden, 1e-5);
}

// The oracle of bf16 is fp32 with the same, rounded weights: what is left are the activations'
// roundings.
TEST_P(BertQaTest, Bf16StaysClose) {
  GoldenCase golden(GetParam());
  auto exact = load<BertForQuestionAnswering>(GetParam());
  auto bf16 = load<BertForQuestionAnswering>(GetParam(), at::kBFloat16);
  for (const nn::UnitParams& unit : exact->units()) {
    for (nn::Param* param : unit.params) param->value.copy_(param->value.to(at::kBFloat16));
  }
  auto run = [&](BertForQuestionAnswering& model) {
    const at::Tensor loss =
        nn::span_loss(model.forward(golden.context), tensor(golden.expected, "start_positions"),
                      tensor(golden.expected, "end_positions"), golden.seq, golden.seq.sequences());
    loss.backward();
    return loss.item<double>();
  };
  const double expected = run(*exact);
  EXPECT_NEAR(run(*bf16), expected, 2e-2 * expected);
  EXPECT_LT(trireme::testing::gradient_error(bf16->units(), exact->units()), 0.03);
}

INSTANTIATE_TEST_SUITE_P(Cases, BertQaTest,
                         ::testing::Values("bert/qa", "bert/qa-one-head", "bert/qa-odd-heads"));

TEST(BertClassify, EqualsHuggingFace) {
  GoldenCase golden("bert/classify");
  auto model = load<BertForSequenceClassification>("bert/classify");
  const at::Tensor logits = model->forward(golden.context);
  const at::Tensor expected = tensor(golden.expected, "logits");
  EXPECT_LE(distance(logits.detach(), expected), 1e-5 * expected.norm().item<double>());
  const at::Tensor loss =
      nn::cross_entropy(logits, tensor(golden.expected, "labels"), golden.seq.sequences());
  EXPECT_NEAR(loss.item<double>(), tensor(golden.expected, "loss").item<double>(), 1e-5);
  loss.backward();
  expect_gradients(model->units(), golden, 1e-5);
}

class BertPreTrainingTest : public ::testing::TestWithParam<const char*> {};

TEST_P(BertPreTrainingTest, EqualsHuggingFace) {
  GoldenCase golden(GetParam());
  auto model = load<BertForPreTraining>(GetParam());
  const at::Tensor labels = golden.packed("labels");
  const at::Tensor rows = at::nonzero(labels != -100).view(-1);
  const auto logits = model->forward(golden.context, rows);
  const at::Tensor expected = golden.packed("logits").index_select(0, rows);
  EXPECT_LE(distance(logits.words_mv.detach(), expected), 1e-5 * expected.norm().item<double>());
  const at::Tensor expected_next = tensor(golden.expected, "next_logits");
  EXPECT_LE(distance(logits.next_b2.detach(), expected_next),
            1e-5 * expected_next.norm().item<double>());
  const at::Tensor loss =
      nn::cross_entropy(logits.words_mv, labels.index_select(0, rows), rows.numel()) +
      nn::cross_entropy(logits.next_b2, tensor(golden.expected, "next_sentence_label"),
                        golden.seq.sequences());
  EXPECT_NEAR(loss.item<double>(), tensor(golden.expected, "loss").item<double>(), 1e-5);
  loss.backward();
  expect_gradients(model->units(), golden, 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Cases, BertPreTrainingTest,
                         ::testing::Values("bert/pretrain-tied", "bert/pretrain-untied"));

TEST(BertDropout, IsByCounter) {
  GoldenCase golden("bert/qa");
  trireme::testing::expect_dropout_by_counter(*load<BertForQuestionAnswering>("bert/qa"), golden);
}

// Units are seen to begin and end, backward in reverse, and ready() comes once a Param.
TEST(BertUnits, HooksAndReadiness) {
  struct Log : nn::UnitHooks, nn::GradSink {
    std::vector<std::string> events;
    std::vector<std::string> ready;
    void before_forward(const nn::UnitId& id) override { events.push_back("F" + id.name); }
    void after_forward(const nn::UnitId& id) override { events.push_back("f" + id.name); }
    void before_backward(const nn::UnitId& id) override { events.push_back("B" + id.name); }
    void after_backward(const nn::UnitId& id) override { events.push_back("b" + id.name); }
    void param_ready(nn::Param& param) override { ready.push_back(param.spec.name); }
  } log;
  GoldenCase golden("bert/pretrain-tied");
  auto model = load<BertForPreTraining>("bert/pretrain-tied");
  const std::vector<nn::Param*> params = nn::params_once(model->units());
  for (nn::Param* param : params) param->sink = &log;
  golden.context.hooks = &log;
  const at::Tensor labels = golden.packed("labels");
  const at::Tensor rows = at::nonzero(labels != -100).view(-1);
  const auto logits = model->forward(golden.context, rows);
  (nn::cross_entropy(logits.words_mv, labels.index_select(0, rows), rows.numel()) +
   nn::cross_entropy(logits.next_b2, tensor(golden.expected, "next_sentence_label"),
                     golden.seq.sequences()))
      .backward();
  EXPECT_EQ(log.events, (std::vector<std::string>{
                            "Fembeddings", "fembeddings", "Flayer.0", "flayer.0", "Flayer.1",
                            "flayer.1", "Fcls", "fcls", "Bcls", "bcls", "Blayer.1", "blayer.1",
                            "Blayer.0", "blayer.0", "Bembeddings", "bembeddings"}));
  EXPECT_EQ(log.ready.size(), params.size());
  // The tied table is used by the decoder first and is complete only with the embedding.
  EXPECT_TRUE(std::find(log.ready.end() - 5, log.ready.end(),
                        "bert.embeddings.word_embeddings.weight") != log.ready.end());
}

}  // namespace
}  // namespace trireme::models
