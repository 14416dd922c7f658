#include "trireme/parallel/region.h"

#include <algorithm>

namespace trireme::parallel {

at::Tensor Region::view(const at::Tensor& flat) const {
  const at::Tensor run = flat.narrow(0, offset, numel());
  return complete() ? run.view(cut.local_shape()) : run;
}

void Region::each_run(const std::function<void(const nn::CutRun&)>& f) const {
  const int64_t shift = offset - flat_begin;
  cut.each_run(flat_begin, flat_end, [&](const nn::CutRun& run) {
    f({run.global, run.local + shift, run.numel});
  });
}

std::vector<Region> make_regions(const std::vector<FlatLayout>& layouts) {
  std::vector<Region> regions;
  for (size_t bucket = 0; bucket < layouts.size(); ++bucket) {
    for (const Slot& slot : layouts[bucket].slots) {
      int64_t offset = slot.offset;
      for (const nn::Part& part : slot.param->spec.parts) {
        Region region{.name = part.name,
                      .cut = nn::cut_part(slot.param->spec, part, slot.param->slice)};
        region.flat_end = region.cut.numel();
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
    const bool nothing = region.cut.whole() && region.numel() == 0;  // has no elements at all
    if (nothing && shard == 0) {
      region.offset = 0;
      regions.push_back(std::move(region));
      continue;
    }
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
