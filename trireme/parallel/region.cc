#include "trireme/parallel/region.h"

#include <algorithm>
#include <functional>
#include <numeric>

namespace trireme::parallel {

bool Region::whole() const {
  const int64_t box =
      std::accumulate(box_shape.begin(), box_shape.end(), int64_t{1}, std::multiplies<>());
  return box_shape == shape && flat_begin == 0 && flat_end == box;
}

at::Tensor Region::view(const at::Tensor& flat) const {
  const at::Tensor run = flat.narrow(0, offset, numel());
  return whole() ? run.view(shape) : run;
}

std::vector<Region> make_regions(const std::vector<FlatLayout>& layouts) {
  std::vector<Region> regions;
  for (size_t bucket = 0; bucket < layouts.size(); ++bucket) {
    for (const Slot& slot : layouts[bucket].slots) {
      const nn::ParamSpec& spec = slot.param->spec;
      int64_t offset = slot.offset;
      for (const nn::Part& part : spec.parts) {
        Region region{.name = part.name, .shape = spec.shape, .box_begin = {}, .box_shape = {}};
        region.shape[0] = part.rows;
        region.box_begin.assign(region.shape.size(), 0);
        region.box_shape = region.shape;
        region.flat_end = std::accumulate(region.shape.begin(), region.shape.end(), int64_t{1},
                                          std::multiplies<>());
        region.bucket = bucket;
        region.offset = offset;
        region.param = slot.param;
        offset += region.flat_end;
        regions.push_back(std::move(region));
      }
    }
  }
  return regions;
}

std::vector<Region> cut_regions(const std::vector<Region>& whole,
                                const std::vector<FlatLayout>& layouts, int shards, int shard) {
  std::vector<Region> regions;
  for (Region region : whole) {
    const ShardRun run = shard_run(layouts[region.bucket], shards, shard);
    const int64_t begin = std::max(region.offset, run.begin);
    const int64_t end = std::min(region.offset + region.numel(), run.begin + run.numel);
    if (begin >= end) continue;
    region.flat_begin = begin - region.offset;
    region.flat_end = end - region.offset;
    region.offset = begin - run.begin;
    regions.push_back(std::move(region));
  }
  return regions;
}

}  // namespace trireme::parallel
