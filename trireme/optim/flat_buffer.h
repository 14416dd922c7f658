// What an optimiser works on: parameters as flat runs of memory, not as a list of tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace trireme::optim {

// Elements [begin, end) of a flat buffer that share their settings.
struct FlatRange {
  int64_t begin = 0;
  int64_t end = 0;
  bool decay = true;
  double lr_scale = 1.0;
};

// Three flat tensors of one length: of a whole bucket, or of the part that this rank updates.
// Padding between parameters is zero in all of them and stays so.
struct FlatBuffer {
  std::string name;   // for messages
  at::Tensor master;  // fp32: what the optimiser updates
  at::Tensor grad;    // fp32; undefined: frozen, nothing is updated
  at::Tensor value;   // compute dtype: the master's rounded copy; the master itself in fp32
  std::vector<FlatRange> ranges;  // cover the buffer, in order
};

}  // namespace trireme::optim
