#include "trireme/kernels/gemm.h"

#include <gtest/gtest.h>

#include "tests/kernels/reference.h"
#include "trireme/base/error.h"

namespace trireme::kernels {
namespace {

using trireme::testing::relative_error;

TEST(Gemm, AllTranspositionsStridesAndBetas) {
  at::manual_seed(1);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const bool ta : {false, true}) {
      for (const bool tb : {false, true}) {
        const int64_t m = 7, n = 13, k = 21;
        const at::Tensor a =
            at::randn({ta ? k : m, (ta ? m : k) + 3}).to(dtype);  // a wider row: a free stride
        const at::Tensor b = at::randn({tb ? n : k, (tb ? k : n) + 5}).to(dtype);
        const at::Tensor c0 = at::randn({m, n + 2});
        at::Tensor wa = a.narrow(1, 0, ta ? m : k).to(at::kDouble),
                   wb = b.narrow(1, 0, tb ? k : n).to(at::kDouble);
        const at::Tensor product = at::mm(ta ? wa.t() : wa, tb ? wb.t() : wb);
        for (const float beta : {0.0f, 1.0f}) {
          at::Tensor c = c0.clone();
          gemm(dtype, m, n, k, {a.data_ptr(), a.stride(0), ta}, {b.data_ptr(), b.stride(0), tb},
               beta, c.data_ptr<float>(), c.stride(0));
          const at::Tensor expected = product + c0.narrow(1, 0, n).to(at::kDouble) * beta;
          EXPECT_LT(relative_error(c.narrow(1, 0, n), expected), 1e-6)
              << at::toString(dtype) << ta << tb << beta;
          EXPECT_TRUE(at::equal(c.narrow(1, n, 2),
                                c0.narrow(1, n, 2)));  // beyond the matrix nothing is written
        }
      }
    }
  }
}

// bf16 weight gradients are summed in fp32: a sum of many small products does not stall.
TEST(Gemm, WeightGradientAccumulatesInFp32) {
  const int64_t T = 4096;
  const at::Tensor dy = at::full({T, 2}, 1.0).to(at::kBFloat16),
                   x = at::full({T, 3}, 0.0078125).to(at::kBFloat16);
  at::Tensor grad = at::full({2, 3}, 1000.0);
  accumulate_weight_grad(dy, x, grad);
  EXPECT_TRUE(at::allclose(grad, at::full({2, 3}, 1032.0), 0, 1e-3));
}

TEST(Gemm, RefusesOtherTypes) {
  double x = 0;
  float c = 0;
  EXPECT_THROW(gemm(at::kDouble, 1, 1, 1, {&x, 1}, {&x, 1}, 0.0f, &c, 1), Error);
}

}  // namespace
}  // namespace trireme::kernels
