#include "trireme/nn/tensor_cut.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <functional>
#include <numeric>

namespace trireme::nn {
namespace {

int64_t product(std::vector<int64_t>::const_iterator begin,
                std::vector<int64_t>::const_iterator end) {
  return std::accumulate(begin, end, int64_t{1}, std::multiplies<>());
}

}  // namespace

DimRange slice_of(int64_t n, TpSlice slice) {
  return {n * slice.rank / slice.size, n * (slice.rank + 1) / slice.size};
}

TensorCut TensorCut::all_of(std::vector<int64_t> shape) {
  const int64_t rows = shape.empty() ? 1 : shape.front();
  return {.shape = std::move(shape), .dim = 0, .ranges = {{0, rows}}};
}

bool TensorCut::whole() const {
  int64_t end = 0;
  for (const DimRange& range : ranges) {
    if (range.begin != end) return false;
    end = range.end;
  }
  return end == shape[static_cast<size_t>(dim)];
}

std::vector<int64_t> TensorCut::local_shape() const {
  std::vector<int64_t> local = shape;
  int64_t& size = local[static_cast<size_t>(dim)];
  size = 0;
  for (const DimRange& range : ranges) size += range.size();
  return local;
}

int64_t TensorCut::numel() const {
  const std::vector<int64_t> local = local_shape();
  return product(local.begin(), local.end());
}

void TensorCut::each_run(int64_t begin, int64_t end,
                         const std::function<void(const CutRun&)>& f) const {
  if (begin >= end) return;
  if (whole()) {
    f({begin, begin, end - begin});
    return;
  }
  // The dims before the cut one count blocks of `local_block` elements (there) and `global_block`;
  // an index of the cut dim is `stride` elements.
  const int64_t stride = product(shape.begin() + dim + 1, shape.end());
  const int64_t global_block = shape[static_cast<size_t>(dim)] * stride;
  int64_t local_block = 0;
  for (const DimRange& range : ranges) local_block += range.size() * stride;
  for (int64_t block = begin / local_block; block * local_block < end; ++block) {
    int64_t local = block * local_block;
    for (const DimRange& range : ranges) {
      const int64_t from = std::max(begin, local);
      const int64_t to = std::min(end, local + range.size() * stride);
      if (from < to) {
        f({block * global_block + range.begin * stride + (from - local), from, to - from});
      }
      local += range.size() * stride;
    }
  }
}

void TensorCut::copy_from(at::Tensor local, const at::Tensor& global) const {
  const at::NoGradGuard no_grad;
  int64_t at = 0;
  for (const DimRange& range : ranges) {
    local.narrow(dim, at, range.size()).copy_(global.narrow(dim, range.begin, range.size()));
    at += range.size();
  }
}

}  // namespace trireme::nn
