#include "trireme/parallel/flat_layout.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <unordered_set>

#include "trireme/base/error.h"

namespace trireme::parallel {
namespace {

int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}

int64_t numel_of(const nn::Param& param) {
  const std::vector<int64_t> shape = param.local_shape();
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

bool same_settings(const nn::ParamSpec& a, const nn::ParamSpec& b) {
  return a.decay == b.decay && a.lr_scale == b.lr_scale;
}

// Decayed first, then by learning-rate scale.
bool settings_before(const nn::Param* a, const nn::Param* b) {
  if (a->spec.decay != b->spec.decay) return a->spec.decay;
  return a->spec.lr_scale < b->spec.lr_scale;
}

FlatLayout lay_out_unit(const std::string& name, std::vector<nn::Param*> params, int64_t multiple) {
  std::stable_sort(params.begin(), params.end(), settings_before);
  FlatLayout layout{.name = name, .slots = {}, .ranges = {}};
  int64_t end = 0;
  const nn::Param* previous = nullptr;
  for (nn::Param* param : params) {
    const nn::ParamSpec& spec = param->spec;
    if (previous == nullptr || !same_settings(previous->spec, spec)) {
      if (previous != nullptr) layout.ranges.back().end = end;
      layout.ranges.push_back({end, end, spec.decay, spec.lr_scale});
    }
    layout.slots.push_back({param, end, numel_of(*param)});
    end += round_up(layout.slots.back().numel, kAlignment);
    previous = param;
  }
  layout.numel = round_up(end, multiple);
  layout.ranges.back().end = layout.numel;
  return layout;
}

}  // namespace

ShardRun shard_run(const FlatLayout& layout, int shards, int shard) {
  const int64_t numel = layout.numel / shards;
  return {shard * numel, numel};
}

std::vector<optim::FlatRange> cut_ranges(const FlatLayout& layout, const ShardRun& run) {
  std::vector<optim::FlatRange> ranges;
  for (optim::FlatRange range : layout.ranges) {
    range.begin = std::max(range.begin, run.begin) - run.begin;
    range.end = std::min(range.end, run.begin + run.numel) - run.begin;
    if (range.begin < range.end) ranges.push_back(range);
  }
  return ranges;
}

std::vector<FlatLayout> lay_out(const std::vector<nn::UnitParams>& units, int shards,
                                int64_t part_unit) {
  const int64_t multiple = part_unit * shards;
  std::unordered_set<const nn::Param*> held;
  std::unordered_set<std::string> names;
  std::vector<FlatLayout> layouts;
  for (const nn::UnitParams& unit : units) {
    std::vector<nn::Param*> trained, frozen, tied;
    for (nn::Param* param : unit.params) {
      if (!held.insert(param).second) continue;
      for (const nn::Part& part : param->spec.parts) {
        if (!names.insert(part.name).second) {
          throw run_error("two parameters are named ", part.name, " (one in unit ", unit.name,
                          "): names must be unique in a model");
        }
      }
      if (param->spec.frozen && param->spec.tie != nn::Tie::kNone) {
        throw input_error(param->spec.name,
                          " is frozen and tied over two pipeline stages: train it, or give the "
                          "stages weights of their own");
      }
      (param->spec.frozen                  ? frozen
       : param->spec.tie != nn::Tie::kNone ? tied
                                           : trained)
          .push_back(param);
    }
    for (nn::Param* param : tied) {
      layouts.push_back(lay_out_unit(unit.name + " (tied)", {param}, multiple));
      layouts.back().copy = param->spec.tie == nn::Tie::kCopy;
    }
    if (!trained.empty()) layouts.push_back(lay_out_unit(unit.name, std::move(trained), multiple));
    if (!frozen.empty()) {
      layouts.push_back(lay_out_unit(unit.name + " (frozen)", std::move(frozen), multiple));
      layouts.back().frozen = true;
    }
  }
  return layouts;
}

}  // namespace trireme::parallel
