// The gradient of an embedding table, summed over the ranks by its touched rows: a batch has few of
// a vocabulary's tokens, and rows that are zero on every rank need not travel.
//
//   SparseRows sum(grad_vh, group, "grads/embeddings");   // begins to agree on the rows
//   ...
//   sum.finish();                                         // grad_vh is the sum
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "trireme/comm/group.h"

namespace trireme::parallel {

class SparseRows {
 public:
  // grad_vh: fp32 [V, H], dense; changed by finish() only. Every rank makes one with the same
  // shape.
  SparseRows(at::Tensor grad_vh, comm::Group& group, std::string tag);
  // Waits until the rows are known, and sums them. The order of the sum depends on the rows alone.
  void finish();

 private:
  at::Tensor grad_vh_;
  comm::Group& group_;
  std::string tag_;
  at::Tensor touched_v_;  // int32: 1 where a rank touched the row
  comm::WorkPtr known_;
};

}  // namespace trireme::parallel
