// Regions: who holds what. The one description of parameters that checkpoints, exports, norms by
// name and loading go by, whatever the layout: a named tensor, the box of it that this rank's
// tensor shard covers, the flat run of that box (row-major) that this rank stores, and where.
//
// At stage 0 every rank holds each part whole: the box is the tensor, the run is all of it. Where
// buckets are sharded a rank holds the run that its shard of the bucket cuts out, and of some parts
// nothing.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "trireme/nn/param.h"
#include "trireme/parallel/flat_layout.h"

namespace trireme::parallel {

struct Region {
  std::string name;                // the part's: Hugging Face's name
  std::vector<int64_t> shape;      // global shape of the part
  std::vector<int64_t> box_begin;  // first index of the box, by dim
  std::vector<int64_t> box_shape;
  int64_t flat_begin = 0;  // elements [flat_begin, flat_end) of the box are here
  int64_t flat_end = 0;
  size_t bucket = 0;   // ... in this bucket's flat tensors (master, grad, moments)
  int64_t offset = 0;  // ... from this element on
  const nn::Param* param = nullptr;

  int64_t numel() const { return flat_end - flat_begin; }
  // The whole tensor is in this one Region.
  bool whole() const;
  // The Region's elements of a flat tensor of its bucket: in the tensor's shape when whole, flat
  // otherwise. A view.
  at::Tensor view(const at::Tensor& flat) const;
};

// One Region a part, in the layouts' order: of whole buckets. Padding is in none.
std::vector<Region> make_regions(const std::vector<FlatLayout>& layouts);
// What of them lies in shard `shard` of `shards`, with offsets in the shard. Parts of which nothing
// lies there are left out.
std::vector<Region> cut_regions(const std::vector<Region>& whole,
                                const std::vector<FlatLayout>& layouts, int shards, int shard);

}  // namespace trireme::parallel
