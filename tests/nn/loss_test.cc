#include "trireme/nn/loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "trireme/base/error.h"

namespace trireme::nn {
namespace {

TEST(SpanLoss, IsTheMeanOfTwoCrossEntropiesASequence) {
  at::manual_seed(1);
  const std::vector<int32_t> lengths = {3, 5};
  const kernels::SeqInfo seq = kernels::SeqInfo::self(lengths);
  const at::Tensor logits =
      at::randn({10, 2}).set_requires_grad(true);  // two rows belong to no sequence
  const at::Tensor starts = at::tensor({1, 4}, at::kLong), ends = at::tensor({2, 0}, at::kLong);
  const at::Tensor loss = span_loss(logits, starts, ends, seq, /*count=*/4);
  loss.backward();
  const at::Tensor gradient = logits.grad().clone();

  const at::Tensor wide = logits.detach().to(at::kDouble).set_requires_grad(true);
  at::Tensor expected = at::zeros({}, at::kDouble);
  for (int b = 0; b < 2; ++b) {
    const at::Tensor rows = wide.narrow(0, b * 3, lengths[b]);
    expected = expected +
               at::cross_entropy_loss(rows.select(1, 0).unsqueeze(0), starts.narrow(0, b, 1)) / 2 +
               at::cross_entropy_loss(rows.select(1, 1).unsqueeze(0), ends.narrow(0, b, 1)) / 2;
  }
  expected = expected / 4;
  expected.backward();
  EXPECT_NEAR(loss.item<double>(), expected.item<double>(), 1e-6);
  EXPECT_TRUE(at::allclose(gradient, wide.grad().to(at::kFloat), 1e-5, 1e-7));
}

TEST(SpanLoss, RefusesLabelsOutsideTheirSequence) {
  const std::vector<int32_t> lengths = {3};
  const kernels::SeqInfo seq = kernels::SeqInfo::self(lengths);
  const at::Tensor one = at::tensor({1}, at::kLong);
  EXPECT_THROW(span_loss(at::zeros({3, 2}), at::tensor({3}, at::kLong), one, seq, 1), Error);
  EXPECT_THROW(span_loss(at::zeros({3, 2}), one, at::tensor({-1}, at::kLong), seq, 1), Error);
  EXPECT_THROW(span_loss(at::zeros({3, 3}), one, one, seq, 1), Error);
}

TEST(SpanLoss, OfNoSequencesIsZero) {
  const kernels::SeqInfo seq = kernels::SeqInfo::self({});
  const at::Tensor logits = at::zeros({64, 2}).set_requires_grad(true);
  const at::Tensor none = at::zeros({0}, at::kLong);
  const at::Tensor loss = span_loss(logits, none, none, seq, 7);
  EXPECT_EQ(loss.item<float>(), 0.0f);
  loss.backward();
  EXPECT_TRUE(at::equal(logits.grad(), at::zeros({64, 2})));
}

TEST(CrossEntropy, IgnoresHuggingFacesMinusHundred) {
  at::manual_seed(2);
  const at::Tensor logits = at::randn({4, 9}).set_requires_grad(true);
  const at::Tensor labels = at::tensor({3, -100, 8, -1}, at::kLong);
  const at::Tensor wide = logits.detach().to(at::kDouble).set_requires_grad(true);
  const at::Tensor expected =
      at::cross_entropy_loss(wide, at::tensor({3, -100, 8, -100}, at::kLong), {},
                             at::Reduction::Sum) /
      10;
  expected.backward();
  const at::Tensor loss = cross_entropy(at::mul(logits, 1.0), labels, 10);
  loss.backward();
  EXPECT_NEAR(loss.item<double>(), expected.item<double>(), 1e-6);
  EXPECT_TRUE(at::allclose(logits.grad(), wide.grad().to(at::kFloat), 1e-5, 1e-7));
}

}  // namespace
}  // namespace trireme::nn
