// The units of a model as a dry run plays them: each mirrors the block of trireme/models of its
// name line by line, allocations, products and exchanges in the same order, so that memory at every
// moment is that of the real one (tests/plan/played_units_test holds it to the allocator's counts).
//
//   PlayedModel model(sizes, {.recompute = false});
//   Saved saved; Block y = model.forward(run, unit, x, batch, &saved);
//   Block dx = model.backward(run, unit, std::move(dy), batch, saved);
#pragma once

#include <cstdint>
#include <vector>

#include "trireme/plan/dry_run.h"
#include "trireme/plan/model_sizes.h"

namespace trireme::plan {

// A rank's part of a micro-batch.
struct PlayedBatch {
  int64_t rows = 0;              // of this rank's tensors, padding included
  std::vector<int32_t> lengths;  // of its sequences, whole ones
  double attention_share = 1;    // of the sequences' pairs of query and key: 1 / cp
  bool ulysses = false;          // parallel.cp_method
};

// What forward leaves for backward, in the order in which it was made.
using Saved = std::vector<Block>;

struct PlayOptions {
  bool recompute = false;
  bool sequence_parallel = false;
};

class PlayedModel {
 public:
  PlayedModel(const ModelSizes& sizes, const PlayOptions& options)
      : sizes_(sizes), options_(options) {}

  // Embeddings, blocks, head.
  int64_t units() const { return sizes_.layers + 2; }
  bool is_head(int64_t unit) const { return unit + 1 == units(); }
  // x: null for the first unit. The head gives null: the loss is a number.
  Block forward(DryRun& run, int64_t unit, Block x, const PlayedBatch& batch, Saved* saved) const;
  // dy: null for the head. Null for the first unit.
  Block backward(DryRun& run, int64_t unit, Block dy, const PlayedBatch& batch, Saved saved) const;
  // Bytes that pass between two units.
  int64_t boundary_bytes(const DryRun& run, const PlayedBatch& batch) const;

 private:
  Block bert_embeddings(DryRun& run, const PlayedBatch& batch, Saved* saved) const;
  void bert_embeddings_backward(DryRun& run, Block dy, const PlayedBatch& batch, Saved saved) const;
  Block bert_layer(DryRun& run, const Block& x, const PlayedBatch& batch, Saved* saved) const;
  Block bert_layer_backward(DryRun& run, Block dy, const PlayedBatch& batch, Saved saved) const;
  void bert_head(DryRun& run, const Block& x, const PlayedBatch& batch, Saved* saved) const;
  Block bert_head_backward(DryRun& run, const PlayedBatch& batch, Saved saved) const;
  Block gpt2_embeddings(DryRun& run, const PlayedBatch& batch) const;
  void gpt2_embeddings_backward(DryRun& run, Block dy, const PlayedBatch& batch) const;
  Block gpt2_block(DryRun& run, const Block& x, const PlayedBatch& batch, Saved* saved) const;
  Block gpt2_block_backward(DryRun& run, Block dy, const PlayedBatch& batch, Saved saved) const;
  void gpt2_head(DryRun& run, const Block& x, const PlayedBatch& batch, Saved* saved) const;
  Block gpt2_head_backward(DryRun& run, const PlayedBatch& batch, Saved saved) const;

  ModelSizes sizes_;
  PlayOptions options_;
};

}  // namespace trireme::plan
