// Tensor parallelism (Shoeybi et al., "Megatron-LM", 2019, section 3): the ranks of a group compute
// every block together, each with its slices of the matrices and its share of the heads. With
// `sequence` (Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models",
// 2022, section 4.2) what lies between the products (norms, dropouts, residuals) is cut by rows:
// rank r has the r-th of size equal runs, and products gather rows and scatter sums.
//
//   nn::TensorParallel tp{group, /*sequence=*/true};
//   context.tp = &tp;                                   // on every rank of the group
//   nn::allocate_values(model.units(), at::kFloat, tp.slice());
//
// All ranks of the group run the same units on the same batch, forward and backward. Layers over
// cut matrices (product.h, layers.h) and the functions here communicate; everything else computes
// on the rows and columns that it is given.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "trireme/comm/group.h"
#include "trireme/kernels/dropout.h"
#include "trireme/nn/context.h"
#include "trireme/nn/param.h"

namespace trireme::nn {

// Outlives the backward of what was computed with it.
struct TensorParallel {
  comm::Group& group;
  bool sequence = false;  // between products each rank has its rows alone

  TpSlice slice() const { return {.rank = group.rank(), .size = group.size()}; }
};

// The context's, or null where there is nothing to share: none, or a group of one.
const TensorParallel* tensor_parallel(const Context& context);

// Throws run_error unless a Param that is cut holds this rank's part: whoever gave it storage knew
// of another layout. tp null: one rank.
void expect_own_part(const Param& param, const TensorParallel* tp);

// This rank's rows of a tensor that has all T of them, where sequence parallelism cuts rows; a
// view. The tensor itself otherwise. Throws input_error when size does not divide T.
at::Tensor own_rows(const at::Tensor& all_rows, const Context& context);

// The draws of x's rows, which are all of the batch's or this rank's.
kernels::DropoutKey dropout_key(const at::Tensor& x, const Context& context);

// What comes after uses all rows on every rank...
enum class RowUse {
  kCut,   // ... with its own part of the parameters: the ranks' gradients of x are summed
  kAlike  // ... alike, with whole parameters: every rank has the whole gradient of x
};
// x [T / size, n] with all rows, [T, n], under sequence parallelism; without it x itself, with its
// gradient summed for kCut.
at::Tensor all_rows(const at::Tensor& x, RowUse use, const Context& context);

// x itself, where every rank has all of it and uses it with its own part of the parameters: their
// gradients of it are summed.
at::Tensor sum_gradients(const at::Tensor& x, const Context& context);

// y [T, columns / size], this rank's slice_of() the columns, with all `columns`. What follows does
// alike on every rank.
at::Tensor all_columns(const at::Tensor& y, int64_t columns, const Context& context);

// A tensor that an operation is still to fill; read it through wait() alone.
struct PendingTensor {
  at::Tensor wait();

  at::Tensor tensor;
  comm::WorkPtr work;  // null: it is there
};

// The pieces of layers, outside the graph. A tensor for sum_over_ranks(), in the memory that the
// group shares.
at::Tensor empty_partial(at::IntArrayRef shape, at::ScalarType dtype, const TensorParallel& tp);
// The ranks' partial [T, n] summed, on every rank or, under sequence parallelism, each its rows.
// `partial` is used up.
PendingTensor sum_over_ranks(const at::Tensor& partial, const TensorParallel& tp, const char* tag);
// All rows of x [T / size, n], under sequence parallelism; x itself otherwise.
PendingTensor gather_rows(const at::Tensor& x, const TensorParallel& tp, const char* tag);

}  // namespace trireme::nn
