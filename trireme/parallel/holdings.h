// What all ranks of a run hold together: named tensors whole on rank 0, from and to whatever layout
// (ZeRO's shards, tensor parallelism's slices, pipeline stages). Checkpoints and loading go through
// it, a bucket at a time.
//
//   Holdings holdings(world.world_group(), {{&engine}});          // every rank
//   load_masters(holdings, [&](const std::string& name, at::Tensor whole) { ... });  // read on
//   rank 0
//
// Invariants
//  - Every rank makes one, and collect()s or deal()s its entries() in their order: the same
//  sequence
//    of kinds of flat tensors on all ranks.
//  - Rank 0 holds one bucket of the others' at a time for each Collected that lives.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "trireme/comm/group.h"
#include "trireme/parallel/engine.h"
#include "trireme/parallel/region.h"

namespace trireme::parallel {

// An engine of this rank, and which chunk of the model it holds, counted in the order of forward:
// the same number on every rank that holds a part of it.
struct Chunk {
  Engine* engine;
  int place = 0;
};

// Fills a tensor of a global shape, by its name. On rank 0.
using TensorReader = std::function<void(const std::string& name, at::Tensor whole)>;

class Holdings {
 public:
  // What one rank holds of a tensor; elements that several ranks hold are needed of one.
  struct Piece {
    size_t holder;
    Region region;
    bool needed;
  };
  struct NamedTensor {
    std::string name;
    std::vector<int64_t> shape;  // global
    std::vector<Piece> pieces;
  };
  // Whose flat tensors make up a bucket: one rank of each data group, or where these share it, all.
  struct Holder {
    int rank;
    int64_t numel;
  };
  // A bucket that this rank has part in; on rank 0 every bucket of the model, in its order.
  struct Entry {
    std::optional<size_t> chunk;  // of this rank's, and its bucket; none: others' alone (rank 0)
    size_t bucket = 0;
    bool frozen = false;
    bool copy = false;                 // of a tensor that another entry has
    std::vector<Holder> holders;       // on rank 0
    std::vector<NamedTensor> tensors;  // on rank 0
  };
  // One kind of flat tensor of an entry, on rank 0; empty on the others.
  class Collected {
   public:
    // Tensor `i` of the entry, whole. A view where it lies whole on some rank.
    at::Tensor tensor(size_t i) const;

   private:
    friend class Holdings;
    const Entry* entry_ = nullptr;
    std::vector<at::Tensor> flats_;  // by holder
  };

  // Throws run_error when the ranks do not hold each tensor wholly, or two chunks have one place.
  Holdings(comm::Group& world, std::vector<Chunk> chunks);

  const std::vector<Chunk>& chunks() const { return chunks_; }
  const std::vector<Entry>& entries() const { return entries_; }
  bool on_root() const { return world_.rank() == 0; }

  // `own`: what this rank has of the entry: undefined where it has nothing. To rank 0; no copies.
  Collected collect(const Entry& entry, const at::Tensor& own) const;
  // From rank 0, where `read` is called once for each tensor of the entry.
  void deal(const Entry& entry, const at::Tensor& own, const TensorReader& read) const;

 private:
  std::vector<Entry> own_entries() const;
  at::Tensor flat_of(const Holder& holder, const at::Tensor& own) const;

  comm::Group& world_;
  std::vector<Chunk> chunks_;  // by place
  std::vector<Entry> entries_;
};

// Masters of all ranks from whole tensors that `read` gives on rank 0 (elsewhere it may be empty),
// and the values from them. Every rank calls it.
void load_masters(const Holdings& holdings, const TensorReader& read);

}  // namespace trireme::parallel
