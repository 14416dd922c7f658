// Dropout by counter: a draw depends on (seed, step, site, sample's ordinal in the global batch,
// position in the sample, element) and on nothing else, so every layout, packing and recompute sees
// the same mask and there is no generator state to save. Philox4x32-7 (Salmon et al., SC'11) with
// key (seed, step) and counter {element / 8, position, sample, site}; 8 draws of 16 bits a block,
// in word order, low half first. An element is dropped when its draw is below round(p * 65536); the
// others are scaled by 1 / (1 - that share).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace trireme::kernels {

// Kinds of places where dropout acts.
enum class SiteKind : uint32_t {
  kEmbedding = 0,
  kAttentionProbs = 1,
  kAttentionOutput = 2,
  kMlpOutput = 3,
  kHead = 4
};

// layer < 65536, head < 4096 (the global head; 0 where there is none).
constexpr uint32_t dropout_site(SiteKind kind, uint32_t layer, uint32_t head = 0) {
  return layer << 16 | static_cast<uint32_t>(kind) << 12 | head;
}

struct DropoutKey {
  uint64_t seed = 0;
  uint64_t step = 0;
  at::Tensor row_sample;    // int32 [T]: ordinal of the row's sample in the step's global batch
  at::Tensor row_position;  // int32 [T]: the row's position in its sample
};

// One dropout: probability, where. p = 0 draws nothing.
struct Dropout {
  double p = 0.0;
  uint32_t site = 0;
};

}  // namespace trireme::kernels
