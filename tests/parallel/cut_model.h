// Params of every kind that tensor parallelism and pipelines know, with made-up gradients: what the
// engine, norms and checkpoints do with them does not need layers. All numbers are small integers,
// so that sums are exact in any order.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "trireme/base/random.h"
#include "trireme/comm/mesh.h"
#include "trireme/nn/param.h"
#include "trireme/parallel/engine.h"

namespace trireme::testing {

// Four units; the table is of the first and the last.
class CutModel {
 public:
  CutModel() {
    const auto cut = [](nn::ParamSpec spec, int dim, int blocks = 1) {
      spec.tp = nn::TpKind::kShard;
      spec.tp_dim = dim;
      spec.tp_blocks = blocks;
      return spec;
    };
    const auto shares = [](nn::ParamSpec spec) {
      spec.tp = nn::TpKind::kReplicatedPartialGrad;
      return spec;
    };
    nn::Param& table = add(cut(nn::matrix_spec("table", 11, 5, 0.2), 0));
    table.uses = 2;
    table.spec.sparse_grad = true;
    add_unit("embeddings", {&table, &add(nn::matrix_spec("positions", 6, 5, 0.2))});
    for (const std::string& name : {std::string("block0"), std::string("block1")}) {
      const auto part = [&](const char* suffix, int64_t rows) {
        return nn::Part{name + suffix, rows};
      };
      add_unit(name,
               {&add(cut(nn::matrix_spec(name + ".qkv",
                                         {part(".q", 7), part(".k", 3), part(".v", 1)}, 5, 0.2),
                         0)),
                &add(cut(nn::vector_spec(name + ".bias", {part(".qb", 7), part(".kb", 3)},
                                         nn::InitKind::kNormal),
                         0)),
                &add(cut(nn::matrix_spec(name + ".conv", 5, 12, 0.2), 1, 3)),
                &add(cut(nn::matrix_spec(name + ".row", 5, 9, 0.2), 1)),
                &add(shares(nn::vector_spec(name + ".norm", 33, nn::InitKind::kOnes))),
                &add(shares(nn::vector_spec(name + ".row_bias", 5, nn::InitKind::kNormal))),
                &add(nn::vector_spec(name + ".whole", 13, nn::InitKind::kNormal))});
    }
    nn::Param& frozen = add(nn::vector_spec("frozen", 9, nn::InitKind::kNormal));
    frozen.spec.frozen = true;
    add_unit("head", {&add(cut(nn::vector_spec("head.bias", 11, nn::InitKind::kNormal), 0)),
                      &frozen, &table});
  }

  const std::vector<nn::UnitParams>& units() const { return units_; }
  // The table is this model's first unit's alone, or its last's: they lie on different ranks.
  void tie_table(nn::Tie tie) {
    nn::Param& table = *units_.front().params.front();
    table.spec.tie = tie;
    table.uses = 1;
    table.spec.sparse_grad = tie == nn::Tie::kOriginal;
  }
  std::vector<nn::UnitParams> units(size_t begin, size_t end) const {
    return {units_.begin() + static_cast<ptrdiff_t>(begin),
            units_.begin() + static_cast<ptrdiff_t>(end)};
  }

 private:
  nn::Param& add(nn::ParamSpec spec) { return params_.emplace_back(std::move(spec)); }
  void add_unit(const std::string& name, std::vector<nn::Param*> params) {
    units_.push_back({.name = name, .params = std::move(params), .called_as_unit = true});
  }

  std::deque<nn::Param> params_;
  std::vector<nn::UnitParams> units_;
};

// Integers from -4 to 4, by the name and what else it is for.
inline at::Tensor made_up(const std::string& name, const std::vector<int64_t>& shape,
                          uint64_t what) {
  at::Tensor values = at::empty(shape, at::kFloat);
  for (int64_t i = 0; i < values.numel(); ++i) {
    values.data_ptr<float>()[i] = static_cast<float>(
        static_cast<int>(uniform_below(9, what, hash_name(name), static_cast<uint64_t>(i))) - 4);
  }
  return values;
}

// One use's gradient of a micro-batch of a data rank: this tensor-parallel rank's part or share.
struct GradOf {
  uint64_t data_rank = 0;
  uint64_t micro_batch = 0;
  uint64_t use = 0;  // 1: by the head
  bool sequence_parallel = false;
};

inline void add_gradient(nn::Param& param, const GradOf& of) {
  if (!param.wants_grad()) return;
  const at::Tensor& grad = param.grad();
  const uint64_t what = (of.data_rank * 16 + of.micro_batch) * 16 + of.use;
  for (const nn::PartView& part : nn::part_views(param, grad)) {
    at::Tensor whole = made_up(part.part->name, part.cut.shape, what);
    const bool shared = of.sequence_parallel && param.spec.tp == nn::TpKind::kReplicatedPartialGrad;
    if (shared) {  // the first rank's share is what the others' leave
      for (int rank = 1; rank < param.slice.size; ++rank) {
        const at::Tensor share =
            made_up(part.part->name, part.cut.shape, 1000 * static_cast<uint64_t>(rank) + what);
        if (param.slice.rank == 0) whole.sub_(share);
        if (param.slice.rank == rank) whole = share;
      }
    }
    at::Tensor mine = at::empty_like(part.view);
    part.cut.copy_from(mine, whole);
    at::Tensor(part.view).add_(mine);
  }
  param.ready();
}

// Forward and backward of all units of an engine, as far as the engine can tell.
inline void run_micro_batch(parallel::Engine& engine, const std::vector<nn::UnitParams>& units,
                            const GradOf& of) {
  const auto id = [&](size_t i) { return nn::UnitId{static_cast<int>(i), units[i].name}; };
  for (size_t i = 0; i < units.size(); ++i) {
    engine.before_forward(id(i));
    engine.after_forward(id(i));
  }
  for (size_t i = units.size(); i-- > 0;) {
    engine.before_backward(id(i));
    for (nn::Param* param : units[i].params) {
      GradOf use = of;
      use.use = units[i].name == "head" && param->spec.name == "table" ? 1 : 0;
      add_gradient(*param, use);
    }
    engine.after_backward(id(i));
  }
  engine.end_micro_batch();
}

// Whole tensors by name, from what all ranks hold; copies are left out.
class WholeTensors {
 public:
  void add(const parallel::Engine& engine, const std::vector<at::Tensor>& flats) {
    const std::lock_guard lock(mutex_);
    for (const parallel::Region& region : engine.regions()) {
      const at::Tensor& flat = flats[region.bucket];
      if (!flat.defined() || region.param->spec.tie == nn::Tie::kCopy) continue;
      at::Tensor& tensor = whole_[region.name];
      if (!tensor.defined()) tensor = at::full(region.shape(), NAN, at::kFloat);
      region.each_run([&](const nn::CutRun& run) {
        tensor.view({-1})
            .narrow(0, run.global, run.numel)
            .copy_(flat.narrow(0, run.local, run.numel));
      });
    }
  }
  void add(const parallel::Engine& engine, at::Tensor optim::FlatBuffer::*which) {
    std::vector<at::Tensor> flats;
    for (const optim::FlatBuffer& buffer : engine.flat_buffers()) flats.push_back(buffer.*which);
    add(engine, flats);
  }
  const std::map<std::string, at::Tensor>& tensors() const { return whole_; }

 private:
  std::mutex mutex_;
  std::map<std::string, at::Tensor> whole_;
};

inline void expect_same(const std::map<std::string, at::Tensor>& got,
                        const std::map<std::string, at::Tensor>& want) {
  EXPECT_EQ(got.size(), want.size());
  for (const auto& [name, tensor] : want) {
    ASSERT_TRUE(got.contains(name)) << name;
    EXPECT_TRUE(at::equal(got.at(name), tensor)) << name;
  }
}

}  // namespace trireme::testing
