// A packed batch cut for context parallel: the rows of one rank, and where everyone's rows lie.
//
//   CpShard shard = cp_shard(whole, group.rank(), group.size());   // `whole` the same on all ranks
//   context.tokens = shard.batch.tokens; ...                       // as with any batch
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "trireme/data/cp_layout.h"
#include "trireme/data/packed_batch.h"

namespace trireme::data {

struct CpShard {
  // This rank's rows. Its sequences are the pieces of layout.ranks[rank], with q_start where each
  // begins (keys: the rows that are here, which is not all that they attend to); sample and draw by
  // piece. Labels of rows are cut, -1 behind; labels of sequences are left as in the whole batch.
  PackedBatch batch;
  CpLayout layout;
  kernels::SeqInfo whole_seq;         // of the whole batch
  kernels::DropoutKey whole_dropout;  // its rows' sample and position; seed and step are not set
  at::Tensor own_rows;  // int64: the row of the whole batch that each real row of this rank is
  // int64 [real tokens of the whole batch]: where each of its rows lies when all ranks' tensors
  // stand end to end.
  at::Tensor gathered_rows;
  // int64: the sequences whose first row is here, in the order of `batch`: for labels of heads that
  // read first rows.
  at::Tensor first_sequences;
};

// Where nothing is dropped out, `whole` may be without samples and draws. Throws input_error when
// `rank` is not one of cp. A label of as many values as the batch has rows
// is one of rows.
CpShard cp_shard(const PackedBatch& whole, int rank, int cp);

}  // namespace trireme::data
