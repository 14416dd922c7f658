#include "trireme/kernels/gemm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <vector>

#include "trireme/base/clock.h"
#include "trireme/base/error.h"

// MKL's Fortran entry points, exported by the LibTorch of the PyPI wheel; weak, since other builds
// lack them.
extern "C" {
void sgemm_(const char* trans_a, const char* trans_b, const int* m, const int* n, const int* k,
            const float* alpha, const float* a, const int* lda, const float* b, const int* ldb,
            const float* beta, float* c, const int* ldc) __attribute__((weak));
void gemm_bf16bf16f32_(const char* trans_a, const char* trans_b, const int* m, const int* n,
                       const int* k, const float* alpha, const uint16_t* a, const int* lda,
                       const uint16_t* b, const int* ldb, const float* beta, float* c,
                       const int* ldc) __attribute__((weak));
}

namespace trireme::kernels {
namespace {

at::Tensor view(at::ScalarType dtype, int64_t rows, int64_t columns, MatrixView x) {
  void* data = const_cast<void*>(x.data);
  if (x.transposed)
    return at::from_blob(data, {rows, columns}, {1, x.stride}, at::TensorOptions(dtype));
  return at::from_blob(data, {rows, columns}, {x.stride, 1}, at::TensorOptions(dtype));
}

void gemm_aten(at::ScalarType dtype, int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b,
               float beta, float* c, int64_t c_stride) {
  at::Tensor product = at::mm(view(dtype, m, k, a), view(dtype, k, n, b));
  at::Tensor out = view(at::kFloat, m, n, {c, c_stride});
  if (beta == 0.0f) {
    out.copy_(product);
  } else {
    out.mul_(beta).add_(product);
  }
}

}  // namespace

double measure_gemm_gflops(at::ScalarType dtype) {
  at::NoGradGuard no_grad;
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  constexpr int64_t kRows = 1536, kIn = 768, kOut = 768;
  constexpr int kWarmUp = 3, kRuns = 9;
  const at::Tensor x = at::ones({kRows, kIn}).to(dtype), w = at::ones({kOut, kIn}).to(dtype);
  std::vector<double> seconds;
  const SteadyClock clock;
  for (int i = 0; i < kWarmUp + kRuns; ++i) {
    const Stopwatch watch(clock);
    const at::Tensor y = at::linear(x, w);
    if (i >= kWarmUp) seconds.push_back(watch.seconds());
  }
  at::set_num_threads(threads);
  std::nth_element(seconds.begin(), seconds.begin() + kRuns / 2, seconds.end());
  return 2.0 * kRows * kIn * kOut / seconds[kRuns / 2] * 1e-9;
}

bool has_mkl_bf16_gemm() {
  return gemm_bf16bf16f32_ != nullptr;
}

void gemm(at::ScalarType dtype, int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b,
          float beta, float* c, int64_t c_stride) {
  if (dtype != at::kFloat && dtype != at::kBFloat16) {
    throw input_error("matrix products are in fp32 or bf16, not ", at::toString(dtype));
  }
  // Row-major a b is column-major b^T a^T: the operands change places.
  const char ta = a.transposed ? 'T' : 'N', tb = b.transposed ? 'T' : 'N';
  const int im = static_cast<int>(m), in = static_cast<int>(n), ik = static_cast<int>(k);
  const int lda = static_cast<int>(a.stride), ldb = static_cast<int>(b.stride),
            ldc = static_cast<int>(c_stride);
  const float alpha = 1.0f;
  if (dtype == at::kFloat && sgemm_ != nullptr) {
    sgemm_(&tb, &ta, &in, &im, &ik, &alpha, static_cast<const float*>(b.data), &ldb,
           static_cast<const float*>(a.data), &lda, &beta, c, &ldc);
  } else if (dtype == at::kBFloat16 && gemm_bf16bf16f32_ != nullptr) {
    gemm_bf16bf16f32_(&tb, &ta, &in, &im, &ik, &alpha, static_cast<const uint16_t*>(b.data), &ldb,
                      static_cast<const uint16_t*>(a.data), &lda, &beta, c, &ldc);
  } else {
    gemm_aten(dtype, m, n, k, a, b, beta, c, c_stride);
  }
}

void accumulate_weight_grad(const at::Tensor& dy, const at::Tensor& x, at::Tensor weight_grad,
                            float beta) {
  gemm(dy.scalar_type(), dy.size(1), x.size(1), dy.size(0), {dy.data_ptr(), dy.stride(0), true},
       {x.data_ptr(), x.stride(0)}, beta, weight_grad.data_ptr<float>(), weight_grad.stride(0));
}

}  // namespace trireme::kernels
