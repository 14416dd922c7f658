// What a block needs besides its input: where the sequences are, the dropout key, who watches
// units.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>

#include "trireme/kernels/dropout.h"
#include "trireme/kernels/seq_info.h"

namespace trireme::nn {

class ContextParallel;
class KvCache;
class UnitHooks;
struct TensorParallel;

struct Context {
  // A model's first inputs, int64 [T]; token_types only where the model has them.
  at::Tensor tokens, positions, token_types;
  const kernels::SeqInfo* seq = nullptr;
  // Given to a language model, each row's next token (int64 [T], -1: none) and how many the global
  // batch has: its head then returns this batch's share of the mean loss instead of logits.
  at::Tensor labels;
  int64_t label_count = 1;
  at::Tensor logit_rows;        // int64: of which rows it returns logits; undefined: of all
  KvCache* cache = nullptr;     // of one sequence that goes on, without gradients; null: none
  kernels::DropoutKey dropout;  // which draws: (seed, step) and each row's (sample, position)
  bool training = false;        // dropout on
  // The ranks that compute this batch together (tensor_parallel.h); never owned, there until
  // backward is over; null: this rank alone. The tensors above are the same on each.
  const TensorParallel* tp = nullptr;
  UnitHooks* hooks = nullptr;  // never owned; null: nobody watches
  // Set: the ranks of a group share this batch (context_parallel.h), whose rows of one rank these
  // are.
  std::shared_ptr<const ContextParallel> cp;
  bool recompute = false;  // units keep their input alone and run again in backward
};

}  // namespace trireme::nn
