// Matrix products on raw rows with strides, accumulated in fp32: what attention and weight
// gradients are made of. On a LibTorch with MKL they are its sgemm and gemm_bf16bf16f32 (AMX and
// AVX512-BF16 where the processor has them); on another LibTorch, ATen's products with one rounding
// more in bf16.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace trireme::kernels {

// A row-major matrix: element (r, c) at data[r * stride + c]; as_transposed reads it as its
// transpose.
struct MatrixView {
  const void* data;
  int64_t stride;  // in elements
  bool transposed = false;
};

// c[m, n] (fp32, row stride c_stride) = a[m, k] b[k, n] + beta * c. dtype is a's and b's: kFloat or
// kBFloat16. Runs on the calling thread's share of the BLAS threads.
void gemm(at::ScalarType dtype, int64_t m, int64_t n, int64_t k, MatrixView a, MatrixView b,
          float beta, float* c, int64_t c_stride);

// weight_grad[out, in] = dy[T, out]^T x[T, in] + beta * weight_grad; dy and x of one dtype, with
// unit column stride. beta 0: what weight_grad held counts for nothing.
void accumulate_weight_grad(const at::Tensor& dy, const at::Tensor& x, at::Tensor weight_grad,
                            float beta = 1.0f);

// The rate of y = x W^T on one thread at a model's usual shape, measured now in about a tenth of a
// second: what a step's speed is a share of. GFLOP/s.
double measure_gemm_gflops(at::ScalarType dtype);

// Whether LibTorch brings MKL's bf16 product (for `trireme doctor`).
bool has_mkl_bf16_gemm();

}  // namespace trireme::kernels
