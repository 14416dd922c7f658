#include "trireme/nn/product.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <vector>

#include "trireme/kernels/gemm.h"
#include "trireme/kernels/ops.h"
#include "trireme/nn/tape.h"
#include "trireme/nn/tensor_parallel.h"

namespace trireme::nn {
namespace {

using Tensors = std::vector<at::Tensor>;

// W as [in, out].
at::Tensor in_out(const Product& p) {
  return p.layout == MatrixLayout::kInOut ? p.weight.value : p.weight.value.t();
}

at::Tensor multiply(const at::Tensor& x, const Product& p) {
  return p.bias != nullptr ? at::addmm(p.bias->value, x, in_out(p)) : at::mm(x, in_out(p));
}

// x matrix, where the ranks' are summed.
at::Tensor multiply_partial(const at::Tensor& x, const at::Tensor& matrix,
                            const TensorParallel& tp) {
  at::Tensor y = empty_partial({x.size(0), matrix.size(1)}, x.scalar_type(), tp);
  at::mm_out(y, x, matrix);
  return y;
}

at::Tensor multiply_and_sum(const at::Tensor& x, const Product& p, const TensorParallel& tp) {
  at::Tensor y = sum_over_ranks(multiply_partial(x, in_out(p), tp), tp, "row product").wait();
  if (p.bias != nullptr) y.add_(p.bias->value);
  return y;
}

// W's gradient dy^T x, or x^T dy.
void add_weight_grad(const at::Tensor& dy, const at::Tensor& x, const Product& p) {
  if (!p.weight.wants_grad()) return;
  p.weight.later([dy, x, p] {
    const at::NoGradGuard no_grad;
    const Param::GradTarget target = p.weight.grad_target();
    const bool out_in = p.layout == MatrixLayout::kOutIn;
    kernels::accumulate_weight_grad(out_in ? dy : x, out_in ? x : dy, target.grad,
                                    target.fresh ? 0.0f : 1.0f);
    p.weight.ready();
  });
}

at::Tensor column_backward(const at::Tensor& dy, const at::Tensor& x, const Product& p,
                           const TensorParallel& tp, bool wants_dx) {
  PendingTensor all_x = gather_rows(x, tp, "column product's input");
  PendingTensor dx;
  if (wants_dx) {
    const at::Tensor partial = multiply_partial(dy, in_out(p).t(), tp);
    all_x.wait();
    dx = sum_over_ranks(partial, tp, "column product's gradient");
  }
  add_weight_grad(dy, all_x.wait(), p);
  return dx.wait();
}

}  // namespace

at::Tensor product(const at::Tensor& x, const Product& p, const Context& context) {
  const TensorParallel* tp = p.cut == TpCut::kNone ? nullptr : tensor_parallel(context);
  if (p.cut != TpCut::kNone) expect_own_part(p.weight, tp);
  const bool column = p.cut == TpCut::kColumn;
  at::Tensor y;
  {
    at::NoGradGuard no_grad;
    if (tp == nullptr) {
      y = multiply(x.detach(), p);
    } else if (column) {
      y = multiply(gather_rows(x.detach(), *tp, "column product's input").wait(), p);
    } else {
      y = multiply_and_sum(x.detach(), p, *tp);
    }
  }
  return record(y, {x}, p.name, [=, wants_dx = x.requires_grad()](const Tensors& d) -> Tensors {
    const at::Tensor dy = d[0].contiguous(), input = x.detach();
    if (p.bias != nullptr) bias_backward(dy, *p.bias);
    if (tp == nullptr) return {product_backward(dy, input, p, wants_dx)};
    if (column) return {column_backward(dy, input, p, *tp, wants_dx)};
    const at::Tensor all_dy = gather_rows(dy, *tp, "row product's gradient").wait();
    return {product_backward(all_dy, input, p, wants_dx)};
  });
}

at::Tensor product_backward(const at::Tensor& dy, const at::Tensor& x, const Product& p,
                            bool wants_dx) {
  at::Tensor dx = wants_dx ? at::mm(dy, in_out(p).t()) : at::Tensor();
  add_weight_grad(dy, x, p);
  return dx;
}

void bias_backward(const at::Tensor& dy, Param& bias) {
  if (!bias.wants_grad()) return;
  kernels::add_column_sums(dy, bias.grad());
  bias.ready();
}

}  // namespace trireme::nn
