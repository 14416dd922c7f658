#include "trireme/kernels/row_dropout.h"

#include <ATen/ATen.h>

#include <cmath>

#include "trireme/base/error.h"
#include "trireme/base/random.h"

namespace trireme::kernels {

isa::RowDropout row_dropout(const Dropout& dropout, const DropoutKey& key) {
  isa::RowDropout rows;
  if (!(dropout.p >= 0.0 && dropout.p < 1.0))
    throw input_error("dropout probability ", dropout.p, " is not in [0, 1)");
  rows.threshold = static_cast<uint32_t>(std::lround(dropout.p * 65536.0));
  if (rows.threshold == 0) return rows;
  rows.scale = static_cast<float>(1.0 / (1.0 - rows.threshold / 65536.0));
  // One 64-bit key from (seed, step): a bijection in step for every seed.
  const uint64_t mixed = mix_seeds(key.seed, key.step);
  rows.key0 = static_cast<uint32_t>(mixed);
  rows.key1 = static_cast<uint32_t>(mixed >> 32);
  rows.site = dropout.site;
  rows.row_sample = key.row_sample.const_data_ptr<int32_t>();
  rows.row_position = key.row_position.const_data_ptr<int32_t>();
  return rows;
}

}  // namespace trireme::kernels
