// The answer moves fp32 products to other kernels: they must agree with oneDNN's.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

extern "C" int mkl_serv_intel_cpu_true();

namespace {

TEST(MklAnswer, IsYesAndProductsAgreeWithOneDnn) {
  EXPECT_EQ(mkl_serv_intel_cpu_true(), 1);
  at::manual_seed(1);
  const at::Tensor x = at::randn({192, 384}), w = at::randn({512, 384});
  const at::Tensor mkl = at::linear(x, w);
  const at::Tensor onednn = at::mkldnn_linear(x.to_mkldnn(), w).to_dense();
  const at::Tensor exact = at::mm(x.to(at::kDouble), w.to(at::kDouble).t());
  const double scale = exact.norm().item<double>();
  EXPECT_LT((mkl.to(at::kDouble) - exact).norm().item<double>(), 1e-6 * scale);
  EXPECT_LT((onednn.to(at::kDouble) - exact).norm().item<double>(), 1e-6 * scale);
}

}  // namespace
