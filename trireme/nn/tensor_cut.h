// Which part of a tensor a tensor-parallel rank holds: some slices along one dim, end to end. Pure
// arithmetic; whoever fills, copies or names elements of a cut tensor goes by it.
//
//   TensorCut cut = cut_part(param.spec, part, {.rank = 0, .size = 2});
//   cut.copy_from(local, global);                       // this rank's slices of the whole tensor
//   cut.each_run(0, cut.numel(), [&](const CutRun& run) { ... });
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace trireme::nn {

// This rank's place among those that a tensor is cut over.
struct TpSlice {
  int rank = 0;
  int size = 1;
};

// Indices [begin, end) of a dim.
struct DimRange {
  int64_t begin = 0;
  int64_t end = 0;

  int64_t size() const { return end - begin; }
  bool operator==(const DimRange&) const = default;
};

// [n * rank / size, n * (rank + 1) / size): all ranks' together are [0, n), their sizes differ by
// one at most, and some are empty where n < size.
DimRange slice_of(int64_t n, TpSlice slice);

// Elements that lie end to end (row-major) in the whole tensor and in the cut one.
struct CutRun {
  int64_t global;  // first element in the whole tensor
  int64_t local;   // ... in the cut one
  int64_t numel;
};

struct TensorCut {
  std::vector<int64_t> shape;    // of the whole tensor
  int dim = 0;                   // that is cut
  std::vector<DimRange> ranges;  // of that dim, ascending; the cut tensor is these, end to end

  // All of a tensor.
  static TensorCut all_of(std::vector<int64_t> shape);

  bool whole() const;
  std::vector<int64_t> local_shape() const;
  int64_t numel() const;  // of the cut tensor
  // The runs that make up elements [begin, end) of the cut tensor, in order; none is empty.
  void each_run(int64_t begin, int64_t end, const std::function<void(const CutRun&)>& f) const;

  // local: [local_shape()], from `global` [shape]; dtypes may differ.
  void copy_from(at::Tensor local, const at::Tensor& global) const;
};

}  // namespace trireme::nn
