// Regions: who holds what. The one description of parameters that initialisation, checkpoints,
// exports, norms and messages by name go by, whatever the layout: a named tensor, what tensor
// parallelism leaves of it on this rank (slices, end to end), the flat run of that (row-major) that
// this rank stores, and where.
//
// At stage 0 and without tensor parallelism every rank holds each part whole. Where buckets are
// sharded a rank holds the run that its shard of the bucket cuts out, and of some parts nothing.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "trireme/nn/param.h"
#include "trireme/parallel/flat_layout.h"

namespace trireme::parallel {

struct Region {
  std::string name;        // the part's: Hugging Face's name
  nn::TensorCut cut;       // the part's shape, and this rank's slices of it
  int64_t flat_begin = 0;  // elements [flat_begin, flat_end) of the cut tensor are here
  int64_t flat_end = 0;
  size_t bucket = 0;   // ... in this bucket's flat tensors (master, grad, moments)
  int64_t offset = 0;  // ... from this element on
  const nn::Param* param = nullptr;

  int64_t numel() const { return flat_end - flat_begin; }
  const std::vector<int64_t>& shape() const { return cut.shape; }  // global
  // All of the cut tensor is here; and it is the whole tensor.
  bool complete() const { return flat_begin == 0 && flat_end == cut.numel(); }
  bool whole() const { return cut.whole() && complete(); }
  // The Region's elements of a flat tensor of its bucket: in the cut tensor's shape when complete,
  // flat otherwise. A view.
  at::Tensor view(const at::Tensor& flat) const;
  // The runs that are end to end in the whole tensor; CutRun::local counts in the bucket's flat
  // tensor.
  void each_run(const std::function<void(const nn::CutRun&)>& f) const;
};

// One Region a part, in the layouts' order: of unsharded buckets. Padding is in none.
std::vector<Region> make_regions(const std::vector<FlatLayout>& layouts);
// What of them lies in shard `shard` of `shards`, with offsets in the shard. Parts of which nothing
// lies there are left out; a tensor without elements is in the first.
std::vector<Region> cut_regions(const std::vector<Region>& whole,
                                const std::vector<FlatLayout>& layouts, int shards, int shard);

}  // namespace trireme::parallel
