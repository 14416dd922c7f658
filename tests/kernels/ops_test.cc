#include "trireme/kernels/ops.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "tests/kernels/reference.h"
#include "trireme/base/error.h"

namespace trireme::kernels {
namespace {

using trireme::testing::relative_error;

at::Tensor leaf(const at::Tensor& x) {
  return x.to(at::kDouble).set_requires_grad(true);
}

DropoutKey key_of(int64_t T) {
  return {9, 4, at::arange(T, at::kInt).div(7, "floor").to(at::kInt),
          at::arange(T, at::kInt).remainder(7)};
}

class OpsTest : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override { at::manual_seed(1); }
  at::ScalarType dtype() const { return GetParam(); }
  // Of one rounding to the element type, with a margin.
  double bound() const { return dtype() == at::kFloat ? 2e-6 : 6e-3; }
  at::Tensor random(at::IntArrayRef sizes) const { return at::randn(sizes).to(dtype()); }
};

TEST_P(OpsTest, BiasGelu) {
  for (const Gelu form : {Gelu::kErf, Gelu::kTanh}) {
    for (const int64_t n : {37, 64}) {
      const at::Tensor h = random({50, n}) * 3, bias = random({n}), dy = random({50, n});
      const at::Tensor rh = leaf(h), rb = leaf(bias);
      const at::Tensor expected = at::gelu(rh + rb, form == Gelu::kErf ? "none" : "tanh");
      expected.backward(dy.to(at::kDouble));
      EXPECT_LT(relative_error(bias_gelu(form, h, bias), expected.detach()), bound());
      at::Tensor bias_grad = at::full({n}, 2.0);
      EXPECT_LT(relative_error(bias_gelu_backward(form, dy, h, bias, bias_grad), rh.grad()),
                bound());
      EXPECT_LT(relative_error(bias_grad - 2.0, rb.grad()), bound());
    }
  }
}

// Far from zero gelu is x or nothing, and so are its gradients.
TEST_P(OpsTest, GeluOfLargeInputs) {
  const at::Tensor h =
      at::tensor({-1e4f, -90.0f, -20.0f, 20.0f, 90.0f, 1e4f}).view({1, 6}).to(dtype());
  const at::Tensor zero = at::zeros({6}, dtype()), one = at::ones({1, 6}, dtype());
  for (const Gelu form : {Gelu::kErf, Gelu::kTanh}) {
    EXPECT_TRUE(at::equal(bias_gelu(form, h, zero), h.clamp_min(0)));
    EXPECT_TRUE(at::equal(bias_gelu_backward(form, one, h, zero, {}), (h > 0).to(dtype())));
  }
}

TEST_P(OpsTest, DropoutAddNorm) {
  for (const double p : {0.0, 0.2}) {
    for (const bool whole : {false, true}) {  // with bias, residual and a second use of the sum
      const int64_t T = 40, n = 41;
      NormInput input{random({T, n}),
                      whole ? random({n}) : at::Tensor(),
                      whole ? random({T, n}) : at::Tensor(),
                      random({n}),
                      random({n}),
                      1e-5,
                      {p, 77},
                      key_of(T)};
      const at::Tensor dz = random({T, n});
      const at::Tensor ry = leaf(input.y_tn), rg = leaf(input.gamma_n), rb = leaf(input.beta_n);
      at::Tensor s = ry, r_bias, r_residual;
      if (whole) s = s + (r_bias = leaf(input.bias_n));
      s = s * reference::keep_mask(input.dropout, input.key, T, n);
      if (whole) s = s + (r_residual = leaf(input.residual_tn));
      const at::Tensor expected = at::layer_norm(s, {n}, rg, rb, 1e-5);
      const at::Tensor d_sum = whole ? random({T, n}) : at::Tensor();
      if (whole) (s * d_sum.to(at::kDouble)).sum().backward({}, /*retain_graph=*/true);
      expected.backward(dz.to(at::kDouble));

      const NormResult result = dropout_add_norm(input);
      at::Tensor bias_grad = whole ? at::zeros({n}) : at::Tensor(), gamma_grad = at::zeros({n}),
                 beta_grad = at::zeros({n});
      const NormGrads grads =
          dropout_add_norm_backward(dz, d_sum, input, result, bias_grad, gamma_grad, beta_grad);
      EXPECT_LT(relative_error(result.sum_tn, s.detach()), bound());
      EXPECT_LT(relative_error(result.out_tn, expected.detach()), bound());
      EXPECT_LT(relative_error(grads.dy_tn, ry.grad()), 2 * bound());
      EXPECT_LT(relative_error(gamma_grad, rg.grad()), bound());
      EXPECT_LT(relative_error(beta_grad, rb.grad()), bound());
      if (whole) {
        EXPECT_LT(relative_error(grads.d_residual_tn, r_residual.grad()), 2 * bound());
        EXPECT_LT(relative_error(bias_grad, r_bias.grad()), 2 * bound());
      }
    }
  }
}

TEST_P(OpsTest, DropoutAdd) {
  for (const double p : {0.0, 0.2}) {
    const int64_t T = 40, n = 41;
    const Dropout drop{p, 77};
    const at::Tensor y = random({T, n}), bias = random({n}), residual = random({T, n});
    const at::Tensor expected =
        (y.to(at::kDouble) + bias) * reference::keep_mask(drop, key_of(T), T, n) + residual;
    EXPECT_LT(relative_error(dropout_add(y, bias, residual, drop, key_of(T)), expected), bound());
  }
}

TEST_P(OpsTest, DropoutKeepsTheShareAndIsItsOwnBackward) {
  const int64_t T = 200, n = 300;
  const at::Tensor x = at::ones({T, n}).to(dtype());
  const DropoutKey key = key_of(T);
  const at::Tensor y = dropout(x, {0.1, 5}, key);
  const double share = (y == 0).to(at::kDouble).mean().item<double>();
  EXPECT_NEAR(share, 0.1, 4 * std::sqrt(0.09 / (T * n)));
  EXPECT_TRUE(at::equal(y, dropout(x, {0.1, 5}, key)));
  DropoutKey other = key;
  other.step = 5;
  EXPECT_FALSE(at::equal(y, dropout(x, {0.1, 5}, other)));
  EXPECT_TRUE(at::equal(x, dropout(x, {0.0, 5}, key)));
  EXPECT_THROW(dropout(x, {1.0, 5}, key), Error);
  // A row's draws follow its sample and position, wherever it stands.
  const at::Tensor order = at::randperm(T);
  DropoutKey moved = key;
  moved.row_sample = key.row_sample.index_select(0, order);
  moved.row_position = key.row_position.index_select(0, order);
  EXPECT_TRUE(at::equal(dropout(x, {0.1, 5}, moved), y.index_select(0, order)));
}

TEST_P(OpsTest, Embeddings) {
  const at::Tensor a = random({10, 19}), b = random({6, 19}), c = random({2, 19});
  const at::Tensor ia = at::randint(10, {30}), ib = at::randint(6, {30}), ic = at::randint(2, {30});
  auto wide = [](const at::Tensor& x, const at::Tensor& i) {
    return x.to(at::kDouble).index_select(0, i);
  };
  EXPECT_LT(
      relative_error(embedding_sum(a, ia, b, ib, c, ic), wide(a, ia) + wide(b, ib) + wide(c, ic)),
      bound());
  EXPECT_LT(relative_error(embedding_sum(a, ia, b, ib, {}, {}), wide(a, ia) + wide(b, ib)),
            bound());
  at::Tensor table = at::ones({10, 19});
  const at::Tensor x = random({30, 19});
  scatter_add_rows(x, ia, table);
  EXPECT_LT(
      relative_error(table, at::ones({10, 19}, at::kDouble).index_add(0, ia, x.to(at::kDouble))),
      1e-6);
  EXPECT_THROW(embedding_sum(a, ia + 5, b, ib, {}, {}), Error);
  EXPECT_THROW(embedding_sum(a, ia - 5, b, ib, {}, {}), Error);
}

TEST_P(OpsTest, CrossEntropy) {
  const at::Tensor logits = random({30, 77}) * 4;
  at::Tensor labels = at::randint(77, {30});
  labels[3] = -1;
  const at::Tensor x = leaf(logits);
  const at::Tensor expected =
      at::cross_entropy_loss(x, labels.masked_fill(labels == -1, -100), {}, at::Reduction::Sum);
  expected.backward();
  at::Tensor gradient = logits.clone();
  const double loss = cross_entropy_inplace(gradient, labels, 0.5);
  EXPECT_NEAR(loss, expected.item<double>(), 1e-5 * expected.item<double>());
  EXPECT_LT(relative_error(gradient, x.grad() * 0.5), bound());
  EXPECT_THROW(cross_entropy_inplace(gradient, labels + 77, 1.0), Error);
}

TEST_P(OpsTest, ColumnSums) {
  const at::Tensor x = random({1000, 45});
  at::Tensor sums = at::zeros({45});
  add_column_sums(x, sums);
  EXPECT_LT(relative_error(sums, x.to(at::kDouble).sum(0)), 1e-5);
}

// More threads divide the rows; sums stay within rounding and repeat bit by bit.
TEST_P(OpsTest, ThreadsAgree) {
  const at::Tensor h = random({3000, 40}), bias = random({40}), dy = random({3000, 40});
  auto bias_grad = [&](int threads) {
    at::set_num_threads(threads);
    at::Tensor grad = at::zeros({40});
    bias_gelu_backward(Gelu::kErf, dy, h, bias, grad);
    at::set_num_threads(1);
    return grad;
  };
  const at::Tensor one = bias_grad(1), two = bias_grad(2);
  EXPECT_LT(relative_error(two, one), 1e-5);
  EXPECT_TRUE(at::equal(two, bias_grad(2)));
}

TEST_P(OpsTest, RefusesWrongShapes) {
  EXPECT_THROW(bias_gelu(Gelu::kErf, random({4, 5}), random({6})), Error);
  EXPECT_THROW(bias_gelu(Gelu::kErf, at::zeros({4, 5}, at::kDouble), at::zeros({5}, at::kDouble)),
               Error);
  EXPECT_THROW(dropout_add(random({4, 5}), random({5}), random({4, 6}), {}, {}), Error);
  NormInput input{random({4, 5}), {}, {}, random({5}), random({6}), 1e-5, {}, {}};
  EXPECT_THROW(dropout_add_norm(input), Error);
}

INSTANTIATE_TEST_SUITE_P(Types, OpsTest, ::testing::Values(at::kFloat, at::kBFloat16));

}  // namespace
}  // namespace trireme::kernels
