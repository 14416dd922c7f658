#include "trireme/nn/tensor_parallel.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <vector>

#include "trireme/base/error.h"
#include "trireme/nn/tape.h"

namespace trireme::nn {
namespace {

using Tensors = std::vector<at::Tensor>;

at::Tensor rows_of_rank(const at::Tensor& all_rows, const TensorParallel& tp) {
  const int64_t T = all_rows.size(0), size = tp.group.size();
  if (T % size != 0) {
    throw input_error("sequence parallelism cuts rows evenly: ", T, " rows do not divide over ",
                      size,
                      " ranks; take a tensor-parallel size that divides them, or no "
                      "sequence parallelism");
  }
  return all_rows.narrow(0, tp.group.rank() * (T / size), T / size);
}

// `local` in memory that the group shares, so that its peers read it there.
at::Tensor shared_copy(const at::Tensor& local, const TensorParallel& tp) {
  at::Tensor shared = empty_partial(local.sizes(), local.scalar_type(), tp);
  shared.copy_(local);
  return shared;
}

}  // namespace

at::Tensor PendingTensor::wait() {
  if (work != nullptr) work->wait();
  work = nullptr;
  return tensor;
}

const TensorParallel* tensor_parallel(const Context& context) {
  return context.tp != nullptr && context.tp->group.size() > 1 ? context.tp : nullptr;
}

void expect_own_part(const Param& param, const TensorParallel* tp) {
  const TpSlice own = tp != nullptr ? tp->slice() : TpSlice{};
  if (param.spec.tp != TpKind::kShard) return;
  if (param.slice.rank != own.rank || param.slice.size != own.size) {
    throw run_error(param.spec.name, " holds part ", param.slice.rank, " of ", param.slice.size,
                    ", and this is rank ", own.rank, " of ", own.size,
                    " of tensor parallelism; give Params storage with its slice()");
  }
}

at::Tensor own_rows(const at::Tensor& all_rows, const Context& context) {
  const TensorParallel* tp = tensor_parallel(context);
  return tp != nullptr && tp->sequence ? rows_of_rank(all_rows, *tp) : all_rows;
}

kernels::DropoutKey dropout_key(const at::Tensor& x, const Context& context) {
  kernels::DropoutKey key = context.dropout;
  const TensorParallel* tp = tensor_parallel(context);
  const bool cut = tp != nullptr && tp->sequence && key.row_sample.defined() &&
                   key.row_sample.size(0) != x.size(0);
  if (cut) {
    key.row_sample = rows_of_rank(key.row_sample, *tp);
    key.row_position = rows_of_rank(key.row_position, *tp);
  }
  return key;
}

at::Tensor empty_partial(at::IntArrayRef shape, at::ScalarType dtype, const TensorParallel& tp) {
  return tp.group.empty(c10::multiply_integers(shape), dtype).view(shape);
}

PendingTensor sum_over_ranks(const at::Tensor& partial, const TensorParallel& tp, const char* tag) {
  if (!tp.sequence) return {partial, tp.group.all_reduce(partial, comm::ReduceOp::kSum, tag)};
  at::Tensor own = at::empty_like(rows_of_rank(partial, tp));
  comm::WorkPtr work = tp.group.reduce_scatter(own, partial, comm::ReduceOp::kSum, tag);
  return {std::move(own), std::move(work)};
}

PendingTensor gather_rows(const at::Tensor& x, const TensorParallel& tp, const char* tag) {
  if (!tp.sequence) return {x, nullptr};
  // Each rank's rows are put where they belong, and read there by the others.
  at::Tensor all = empty_partial({x.size(0) * tp.group.size(), x.size(1)}, x.scalar_type(), tp);
  const at::Tensor own = rows_of_rank(all, tp);
  own.copy_(x);
  comm::WorkPtr work = tp.group.all_gather(all, own, tag);
  return {std::move(all), std::move(work)};
}

at::Tensor all_rows(const at::Tensor& x, RowUse use, const Context& context) {
  const TensorParallel* tp = tensor_parallel(context);
  if (tp == nullptr || !tp->sequence) return use == RowUse::kCut ? sum_gradients(x, context) : x;
  at::Tensor all;
  {
    at::NoGradGuard no_grad;
    all = gather_rows(x.detach(), *tp, "rows").wait();
  }
  return record(all, {x}, "AllRows", [use, tp](const Tensors& dy) -> Tensors {
    if (use == RowUse::kAlike) return {rows_of_rank(dy[0], *tp)};
    return {sum_over_ranks(shared_copy(dy[0], *tp), *tp, "rows' gradient").wait()};
  });
}

at::Tensor sum_gradients(const at::Tensor& x, const Context& context) {
  const TensorParallel* tp = tensor_parallel(context);
  if (tp == nullptr) return x;
  return record(x.detach(), {x}, "SumGradients", [tp](const Tensors& dy) -> Tensors {
    const at::Tensor sum = shared_copy(dy[0], *tp);
    tp->group.all_reduce(sum, comm::ReduceOp::kSum, "summed gradient")->wait();
    return {sum};
  });
}

at::Tensor all_columns(const at::Tensor& y, int64_t columns, const Context& context) {
  const TensorParallel* tp = tensor_parallel(context);
  if (tp == nullptr) return y;
  const int64_t T = y.size(0);
  const TpSlice slice = tp->slice();
  const auto columns_of = [=](int rank) {
    return slice_of(columns, {.rank = rank, .size = slice.size});
  };
  at::Tensor all;
  {
    at::NoGradGuard no_grad;
    // Slices differ by a column: they travel as wide as the widest.
    const int64_t widest = (columns + slice.size - 1) / slice.size;
    const at::Tensor own = empty_partial({T, widest}, y.scalar_type(), *tp);
    own.narrow(1, 0, y.size(1)).copy_(y.detach());
    const at::Tensor slices = at::empty({slice.size, T, widest}, y.options().requires_grad(false));
    tp->group.all_gather(slices, own, "columns")->wait();
    all = at::empty({T, columns}, slices.options());
    for (int rank = 0; rank < slice.size; ++rank) {
      const DimRange range = columns_of(rank);
      all.narrow(1, range.begin, range.size()).copy_(slices[rank].narrow(1, 0, range.size()));
    }
  }
  return record(all, {y}, "AllColumns",
                [range = columns_of(slice.rank)](const Tensors& dy) -> Tensors {
                  return {dy[0].narrow(1, range.begin, range.size()).contiguous()};
                });
}

}  // namespace trireme::nn
