// Where the parameters of a unit lie in its flat bucket. Pure arithmetic over ParamSpecs and
// slices: the ranks of a data group compute the same.
//
// A bucket holds one unit. Its Params stand in the order of their optimiser settings (decay,
// learning-rate scale), each at a multiple of kAlignment elements; the end is padded so that
// `shards` equal parts are multiples too. A Param of two units (a tied weight) lies in the first.
// Frozen Params of a unit lie in a bucket of their own behind it: they have no gradient. A Param
// that is tied over two pipeline stages lies in one of its own before it: alike on both.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trireme/nn/param.h"
#include "trireme/optim/flat_buffer.h"

namespace trireme::parallel {

// 64 bytes of bf16, 128 of fp32: one offset serves the flat tensors of both.
inline constexpr int64_t kAlignment = 32;

struct Slot {
  nn::Param* param;
  int64_t offset;  // first element in the bucket
  int64_t numel;
};

struct FlatLayout {
  std::string name;  // the unit's, and what sets the bucket apart
  std::vector<Slot> slots;
  std::vector<optim::FlatRange> ranges;  // settings; cover [0, numel)
  int64_t numel = 0;                     // padding included
  bool frozen = false;
  bool copy = false;  // of a tied Param (nn::Tie::kCopy)
};

// Elements [begin, begin + numel) of a bucket: what one rank holds when `shards` share it.
struct ShardRun {
  int64_t begin;
  int64_t numel;
};
ShardRun shard_run(const FlatLayout& layout, int shards, int shard);
// The ranges of a run, counted from its beginning.
std::vector<optim::FlatRange> cut_ranges(const FlatLayout& layout, const ShardRun& run);

// One layout a unit that holds Params (more when some are frozen or tied), in the units' order.
// Params have their slices. Each of `shards` parts is a multiple of `unit` elements, itself one of
// kAlignment. Throws run_error when two Params have the same name, input_error for one that is tied
// and frozen.
std::vector<FlatLayout> lay_out(const std::vector<nn::UnitParams>& units, int shards,
                                int64_t unit = kAlignment);

}  // namespace trireme::parallel
