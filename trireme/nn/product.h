// The product of packed rows with a matrix, whole or cut over the ranks of tensor parallelism.
#pragma once

#include <ATen/core/Tensor.h>

#include "trireme/nn/context.h"
#include "trireme/nn/param.h"

namespace trireme::nn {

// How tensor parallelism cuts a product (Megatron's ColumnParallelLinear and RowParallelLinear): a
// block cuts its first product by outputs and its second one by inputs, and what lies between stays
// cut, so that it takes one exchange at its beginning and one at its end.
enum class TpCut {
  kNone,    // every rank computes all of it
  kColumn,  // by outputs: takes whole rows, makes this rank's outputs; bias cut alike
  kRow  // by inputs: takes this rank's inputs, makes whole rows, summed over the ranks; the bias
        // is whole and added once, after that
};

enum class MatrixLayout { kOutIn, kInOut };

// y = x W + b, or x W^T + b.
struct Product {
  Param& weight;
  Param* bias;  // null: the next kernel adds it
  MatrixLayout layout = MatrixLayout::kOutIn;
  TpCut cut = TpCut::kNone;
  const char* name = "Product";  // in the graph
};

// Between products x and y have this rank's rows alone under sequence parallelism: kColumn gathers
// all rows (again in backward, instead of keeping them), kRow scatters the sums. Gradients of
// weights are computed while the input's gradient is summed.
at::Tensor product(const at::Tensor& x_ti, const Product& p, const Context& context);

// A product that is not cut, backward: W's gradient into main_grad; x's returned when wanted. The
// bias is left out.
at::Tensor product_backward(const at::Tensor& dy_to, const at::Tensor& x_ti, const Product& p,
                            bool wants_dx);

// bias.main_grad += dy's column sums.
void bias_backward(const at::Tensor& dy_to, Param& bias);

}  // namespace trireme::nn
