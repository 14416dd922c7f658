#include "trireme/nn/loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "trireme/base/error.h"
#include "trireme/nn/layers.h"

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

// A matrix [V, H] with room for its gradient.
struct HeadMatrix {
  HeadMatrix(int64_t V, int64_t H, at::ScalarType dtype)
      : param(matrix_spec("head", V, H, 0.02)), units{{"head", {&param}}} {
    allocate_values(units, dtype);
    allocate_grads(units);
    param.value.copy_(at::randn({V, H}) * 0.2);
  }
  Param param;
  std::vector<UnitParams> units;
};

// Chunks of 4 rows, kept all, in part, or not at all: loss and gradients are those of the whole
// product, which is the oracle.
TEST(LinearCrossEntropy, EqualsTheWholeProduct) {
  constexpr int64_t kT = 11, kV = 37, kH = 16;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    at::manual_seed(3);
    HeadMatrix whole(kV, kH, dtype), chunked(kV, kH, dtype);
    chunked.param.value.copy_(whole.param.value);
    const at::Tensor x = at::randn({kT, kH}).to(dtype);
    const at::Tensor labels = at::randint(0, kV, {kT}, at::kLong);
    labels[3] = -1;
    labels[9] = -100;
    const auto run = [&](HeadMatrix& head, auto loss_of) {
      const at::Tensor leaf = x.clone().set_requires_grad(true);
      const at::Tensor loss = loss_of(leaf, head.param);
      (loss * 3.0).backward();  // an upstream gradient that is not 1
      return std::pair(loss.item<double>(), leaf.grad());
    };
    const auto [loss, dx] = run(whole, [&](const at::Tensor& leaf, Param& param) {
      return cross_entropy(linear(leaf, param, nullptr), labels, 7);
    });
    const int64_t chunk_bytes = 4 * kV * static_cast<int64_t>(at::elementSize(dtype));
    for (const int64_t kept : {int64_t{1} << 20, chunk_bytes, int64_t{0}}) {
      chunked.param.main_grad.zero_();
      const auto [own_loss, own_dx] = run(chunked, [&](const at::Tensor& leaf, Param& param) {
        return linear_cross_entropy(leaf, param, labels, 7, {},
                                    {.chunk_rows = 4, .kept_bytes = kept});
      });
      const double bound = dtype == at::kFloat ? 1e-5 : 1e-2;
      EXPECT_NEAR(own_loss, loss, bound * loss);
      EXPECT_LE((own_dx - dx).norm().item<double>(), bound * dx.norm().item<double>());
      EXPECT_LE((chunked.param.main_grad - whole.param.main_grad).norm().item<double>(),
                bound * whole.param.main_grad.norm().item<double>());
    }
  }
}

TEST(LinearCrossEntropy, WithoutGradKeepsNothing) {
  at::manual_seed(4);
  HeadMatrix head(5, 3, at::kFloat);
  const at::Tensor x = at::randn({6, 3}), labels = at::arange(6, at::kLong).remainder(5);
  const at::Tensor loss = linear_cross_entropy(x, head.param, labels, 6, {}, {.chunk_rows = 2});
  EXPECT_FALSE(loss.requires_grad());
  EXPECT_NEAR(loss.item<double>(),
              at::cross_entropy_loss(at::linear(x, head.param.value), labels).item<double>(), 1e-6);
}

}  // namespace
}  // namespace trireme::nn
