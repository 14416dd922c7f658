#include "trireme/parallel/sparse_rows.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

namespace trireme::parallel {
namespace {

constexpr int64_t kRowsAtOnce = 256;

// Any bit counts, so that a -0 is summed as it would be in a dense sum, and a NaN is not lost.
int32_t any_bits(const int32_t* row, int64_t size) {
  constexpr int64_t kBlock = 64;  // a row that was touched is known to be after the first
  int64_t i = 0;
  for (; i + kBlock <= size; i += kBlock) {
    int32_t bits = 0;
    for (int64_t j = 0; j < kBlock; ++j) bits |= row[i + j];
    if (bits != 0) return 1;
  }
  for (; i < size; ++i) {
    if (row[i] != 0) return 1;
  }
  return 0;
}

at::Tensor touched_rows(const at::Tensor& grad_vh) {
  const int64_t V = grad_vh.size(0), H = grad_vh.size(1);
  at::Tensor touched_v = at::empty({V}, at::kInt);
  const at::Tensor bits_vh = grad_vh.view(at::kInt);
  const auto* bits = bits_vh.const_data_ptr<int32_t>();
  auto* touched = touched_v.data_ptr<int32_t>();
  at::parallel_for(0, V, kRowsAtOnce, [&](int64_t begin, int64_t end) {
    for (int64_t v = begin; v < end; ++v) touched[v] = any_bits(bits + v * H, H);
  });
  return touched_v;
}

}  // namespace

SparseRows::SparseRows(at::Tensor grad_vh, comm::Group& group, std::string tag)
    : grad_vh_(std::move(grad_vh)), group_(group), tag_(std::move(tag)) {
  at::NoGradGuard no_grad;
  touched_v_ = touched_rows(grad_vh_);
  known_ = group_.all_reduce(touched_v_, comm::ReduceOp::kMax, tag_ + " rows");
}

void SparseRows::finish() {
  at::NoGradGuard no_grad;
  known_->wait();
  const at::Tensor rows = touched_v_.nonzero().squeeze(1);
  if (rows.numel() == 0) return;
  const at::Tensor sum = grad_vh_.index_select(0, rows);
  group_.all_reduce(sum, comm::ReduceOp::kSum, tag_)->wait();
  grad_vh_.index_copy_(0, rows, sum);
}

}  // namespace trireme::parallel
