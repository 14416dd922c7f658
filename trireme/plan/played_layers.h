// The layers of trireme/nn as a dry run plays them: what units are put together from.
#pragma once

#include "trireme/plan/played_units.h"

namespace trireme::plan {

enum class MatrixKind { kLinear, kConv1D };  // W [out, in], W [in, out]
enum class Cut { kNone, kColumn, kRow };     // over the ranks of tp

// One unit on one micro-batch: the sizes of its tensors, and its layers.
class Layers {
 public:
  Layers(DryRun& run, const ModelSizes& sizes, const PlayedBatch& batch, bool sequence_parallel);

  int64_t all_rows() const { return all_rows_; }
  int64_t rows() const { return rows_; }  // between products: fewer under sequence parallelism
  Block matrix(int64_t rows, int64_t columns) { return run_.take(run_.matrix(rows, columns)); }
  Block floats(int64_t n) { return run_.take(4 * n); }

  // y = x W (+ b). `in` and `out` are the whole model's. The input is kept by the caller.
  Block product(MatrixKind kind, Cut cut, int64_t in, int64_t out);
  // Of y's gradient dy and the kept input; both are let go. bias: its gradient is summed here.
  Block product_backward(MatrixKind kind, Cut cut, int64_t in, int64_t out, bool bias, Block dy,
                         Block x);

  // [rows, columns] of this rank's columns.
  Block gelu(int64_t columns);
  Block gelu_backward(int64_t columns, Block dy, Block h);

  struct Norm {
    Block out, sum;  // sum: null where the norm is of x itself
    Block statistics;
  };
  enum class NormForm { kAlone, kAdds };
  Norm norm(NormForm form);
  // What backward of a norm gives: of y, and of the residual (the same block without dropout).
  struct NormGrads {
    Block dy, d_residual;
  };
  NormGrads norm_backward(NormForm form, Block dz, Block d_sum, Block sum, Block statistics);

  Block dropout(Block x, double p);  // x itself without dropout
  Block dropout_add();
  // One gradient arriving where another waits.
  void meet() { run_.row_op(RowOp::kSum, rows_ * sizes_.hidden); }

  struct Attention {
    Block out, lse;
    Block kept;  // what backward reads of q, k and v
  };
  Attention attention(const Block& qkv);
  // The gradient of qkv.
  Block attention_backward(Block dy, Block kept, Block out, Block lse);

  int64_t local(int64_t n) const { return (n + tp_ - 1) / tp_; }
  // All rows of a matrix, where ranks have parts of them.
  Block gather_rows(int64_t columns);
  // The sum of the word table's slices, looked up by all tokens; null where the table is whole.
  Block own_words();

 private:
  // Partial results of all rows summed over tp: in the group's memory, or own rows.
  Block sum_over_ranks(Block partial, int64_t columns);
  // Context parallel: keys and values go round, or rows are exchanged for heads.
  void pass_keys(const std::vector<Block>& buffers, int64_t bytes);
  Block exchange(int64_t rows, int64_t columns);
  void attend(bool backward, int64_t heads, double share);
  int64_t scratch_scores() const;
  std::vector<Block> scratch(bool backward);
  Block partial(int64_t columns);

  DryRun& run_;
  const ModelSizes& sizes_;
  const PlayedBatch& batch_;
  int64_t tp_;
  bool sequence_;
  int64_t all_rows_, rows_;
};

}  // namespace trireme::plan
