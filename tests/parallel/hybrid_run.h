// The cut model on a rank of any layout: what the engine's and the checkpoint's tests hold to one
// rank.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/parallel/cut_model.h"
#include "trireme/base/error.h"
#include "trireme/comm/mesh.h"
#include "trireme/optim/adamw.h"
#include "trireme/parallel/engine.h"
#include "trireme/parallel/global_norm.h"
#include "trireme/parallel/tied_grads.h"

namespace trireme::testing {

struct HybridLayout {
  comm::MeshShape mesh = {};
  int chunks = 1;  // of the model, a stage, dealt in turn: 4 units make pp x chunks of them
  int zero_stage = 0;
  bool join_values = false;
  bool sequence_parallel = false;
  at::ScalarType dtype = at::kFloat;

  int ranks() const { return mesh.pp * mesh.dp * mesh.cp * mesh.tp; }
  std::string text() const {
    return cat("pp", mesh.pp, "x", chunks, " dp", mesh.dp, " tp", mesh.tp, " zero", zero_stage,
               join_values ? " joined" : "", sequence_parallel ? " sequence " : " ",
               c10::toString(dtype));
  }
};

class HybridRun {
 public:
  static constexpr int kSamples = 4;  // of a step, dealt to the data ranks, one a micro-batch

  HybridRun(comm::World& world, const HybridLayout& layout)
      : layout_(layout), groups_(world, comm::Mesh(layout.mesh)) {
    using comm::Axis;
    comm::Group& data = groups_.along({Axis::kDp, Axis::kCp});
    comm::Group& tp = groups_.along({Axis::kTp});
    comm::Group& across = groups_.along({Axis::kPp, Axis::kTp});
    comm::Group& pp = groups_.along({Axis::kPp});
    const auto stages = static_cast<size_t>(layout.mesh.pp);
    const size_t chunks = stages * static_cast<size_t>(layout.chunks);
    for (size_t place = 0; place < chunks; ++place) {
      const std::vector<nn::UnitParams> units =
          model_.units(4 * place / chunks, 4 * (place + 1) / chunks);
      if (place % stages == static_cast<size_t>(here().pp)) {
        chunks_.push_back({.place = static_cast<int>(place), .units = units});
      }
    }
    const bool tied = stages > 1 && (here().pp == 0 || here().pp + 1 == layout.mesh.pp);
    if (tied) model_.tie_table(here().pp == 0 ? nn::Tie::kOriginal : nn::Tie::kCopy);
    for (Chunk& chunk : chunks_) {
      chunk.engine = std::make_unique<parallel::Engine>(
          chunk.units, data,
          parallel::EngineOptions{.compute_dtype = layout.dtype,
                                  .zero_stage = layout.zero_stage,
                                  .join_values = layout.join_values,
                                  .tp = &tp,
                                  .sequence_parallel = layout.sequence_parallel,
                                  .model = &across});
      chunk.adamw = std::make_unique<optim::AdamW>(chunk.engine->flat_buffers(),
                                                   optim::AdamWOptions{.eps = 1e-2});
    }
    if (tied) tied_.emplace(engines(), &pp);
  }

  struct Chunk {
    int place = 0;
    std::vector<nn::UnitParams> units = {};
    std::unique_ptr<parallel::Engine> engine = {};
    std::unique_ptr<optim::AdamW> adamw = {};
  };

  const comm::Mesh::Coordinates& here() const { return groups_.here(); }
  comm::Group& pipeline() { return groups_.along({comm::Axis::kPp}); }
  std::vector<Chunk>& chunks() { return chunks_; }
  std::vector<parallel::Engine*> engines() {
    std::vector<parallel::Engine*> engines;
    for (const Chunk& chunk : chunks_) engines.push_back(chunk.engine.get());
    return engines;
  }

  void init(uint64_t seed) {
    for (const Chunk& chunk : chunks_) chunk.engine->init(seed);
  }
  // Gradients of step `step`, summed, and their norm.
  double backward(int64_t step) {
    const int mine = kSamples / layout_.mesh.dp;
    for (const Chunk& chunk : chunks_) chunk.engine->begin_step(mine);
    for (int m = 0; m < mine; ++m) {
      for (const Chunk& chunk : chunks_) {
        run_micro_batch(*chunk.engine, chunk.units,
                        {.data_rank = static_cast<uint64_t>(here().dp * mine + m),
                         .micro_batch = static_cast<uint64_t>(step),
                         .sequence_parallel = layout_.sequence_parallel});
      }
    }
    for (const Chunk& chunk : chunks_) chunk.engine->finish_step();
    if (tied_) tied_->sum();
    return parallel::grad_norm(engines());
  }
  void update() {
    for (const Chunk& chunk : chunks_) {
      chunk.adamw->step({.lr = 1e-2, .grad_factor = 0.5});
      chunk.engine->gather_updates();
    }
  }

  void add_to(WholeTensors& whole, at::Tensor optim::FlatBuffer::*which) {
    for (const Chunk& chunk : chunks_) whole.add(*chunk.engine, which);
  }
  void add_moments_to(WholeTensors& first, WholeTensors& second) {
    for (const Chunk& chunk : chunks_) {
      std::vector<at::Tensor> means, squares;
      for (const optim::AdamW::Moments& moments : chunk.adamw->moments()) {
        means.push_back(moments.exp_avg);
        squares.push_back(moments.exp_avg_sq);
      }
      first.add(*chunk.engine, means);
      second.add(*chunk.engine, squares);
    }
  }

 private:
  HybridLayout layout_;
  comm::MeshGroups groups_;
  CutModel model_;
  std::vector<Chunk> chunks_;
  std::optional<parallel::TiedGrads> tied_;
};

}  // namespace trireme::testing
