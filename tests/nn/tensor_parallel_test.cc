// Layers over the ranks of a tensor-parallel group, against the same layers whole.
#include "trireme/nn/tensor_parallel.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "trireme/base/error.h"
#include "trireme/comm/testing.h"
#include "trireme/nn/layers.h"
#include "trireme/nn/loss.h"

namespace trireme::nn {
namespace {

constexpr int64_t kT = 12, kIn = 7, kBetween = 11, kOut = 5;

double error(const at::Tensor& got, const at::Tensor& want) {
  return (got - want).norm().item<double>() / (1e-12 + want.norm().item<double>());
}

// A block of one's own: out by columns, back by rows.
struct Mlp {
  at::Tensor forward(const at::Tensor& x_th, const Context& context) {
    return down.forward(bias_gelu(kernels::Gelu::kTanh, up.product(x_th, context), up.bias),
                        context);
  }
  std::vector<UnitParams> units() {
    UnitParams unit{"mlp", {}};
    up.collect(unit.params);
    down.collect(unit.params);
    return {unit};
  }
  void give_values(TpSlice slice) {
    allocate_values(units(), at::kFloat, slice);
    allocate_grads(units());
    for (Param* param : params_once(units())) {
      param->spec.init = InitKind::kNormal;  // biases too
      init_param(*param, 7, param->value);
    }
  }
  Linear up{"up", kIn, kBetween, 0.5, TpCut::kColumn};
  Conv1D down{"down", kBetween, kOut, 0.5, TpCut::kRow};
};

at::Tensor rows_of(const at::Tensor& x, const Context& context) {
  return own_rows(x, context).clone();
}

TEST(TensorParallel, ColumnThenRowIsTheWholeProduct) {
  at::manual_seed(1);
  const at::Tensor x = at::randn({kT, kIn}).set_requires_grad(true), dy = at::randn({kT, kOut});
  Mlp whole;
  whole.give_values({});
  const at::Tensor y = whole.forward(x, {});
  y.backward(dy);
  for (const int ranks : {2, 3, 4}) {
    for (const bool sequence : {false, true}) {
      comm::run_ranks(ranks, [&](comm::World& world) {
        const TensorParallel tp{world.world_group(), sequence};
        Context context;
        context.tp = &tp;
        Mlp mlp;
        mlp.give_values(tp.slice());
        EXPECT_EQ(mlp.up.weight.value.size(0), slice_of(kBetween, tp.slice()).size());
        EXPECT_EQ(mlp.down.weight.value.size(0), slice_of(kBetween, tp.slice()).size());
        const at::Tensor own_x = rows_of(x.detach(), context).set_requires_grad(true);
        const at::Tensor own_y = mlp.forward(own_x, context);
        EXPECT_LT(error(own_y.detach(), own_rows(y.detach(), context)), 1e-6);
        own_y.backward(rows_of(dy, context));
        EXPECT_LT(error(own_x.grad(), own_rows(x.grad(), context)), 1e-6);
        if (sequence) {
          world.world_group()
              .all_reduce(mlp.down.bias.main_grad, comm::ReduceOp::kSum, "bias")
              ->wait();
        }
        const auto all = params_once(whole.units()), own = params_once(mlp.units());
        for (size_t i = 0; i < all.size(); ++i) {
          const PartView part = part_views(*own[i], own[i]->main_grad).front();
          at::Tensor want = at::empty_like(part.view);
          part.cut.copy_from(want, all[i]->main_grad);
          EXPECT_LT(error(part.view, want), 1e-6) << own[i]->spec.name;
        }
      });
    }
  }
}

// A vocabulary's table over ranks, in chunks of 4 rows that are kept, or made again: the loss, and
// the gradients of the table's rows and of x.
TEST(TensorParallel, LinearCrossEntropyIsTheWholeOne) {
  constexpr int64_t kV = 37, kRows = 11, kWidth = 16;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    at::manual_seed(3);
    const at::Tensor x = at::randn({kRows, kWidth}).to(dtype);
    const at::Tensor labels = at::randint(0, kV, {kRows}, at::kLong);
    labels[3] = -1;
    labels[9] = -100;
    ParamSpec spec = matrix_spec("head", kV, kWidth, 0.3);
    spec.tp = TpKind::kShard;
    const auto run = [&](Param& table, const Context& context, int64_t kept_bytes) {
      const std::vector<UnitParams> units{{"head", {&table}}};
      allocate_values(units, dtype, context.tp != nullptr ? context.tp->slice() : TpSlice{});
      allocate_grads(units);
      init_param(table, 7, table.value);
      const at::Tensor leaf = x.clone().set_requires_grad(true);
      const at::Tensor loss =
          linear_cross_entropy(all_rows(leaf, RowUse::kCut, context), table, labels, 7, context,
                               {.chunk_rows = 4, .kept_bytes = kept_bytes});
      (loss * 3.0).backward();
      return std::pair(loss.item<double>(), leaf.grad());
    };
    Param whole(spec);
    const auto expected = run(whole, {}, 1 << 20);
    const double bound = dtype == at::kFloat ? 1e-5 : 1e-2;
    for (const int64_t kept : {int64_t{1} << 20, int64_t{0}}) {
      comm::run_ranks(3, [&](comm::World& world) {
        const TensorParallel tp{world.world_group()};
        Context context;
        context.tp = &tp;
        Param table(spec);
        const auto [loss, dx] = run(table, context, kept);
        EXPECT_NEAR(loss, expected.first, bound * expected.first);
        EXPECT_LT(error(dx, expected.second), bound);
        const DimRange own = slice_of(kV, tp.slice());
        EXPECT_LT(error(table.main_grad, whole.main_grad.narrow(0, own.begin, own.size())), bound);
      });
    }
  }
}

TEST(TensorParallel, APartOfAnotherLayoutIsRefused) {
  Mlp mlp;
  mlp.give_values({.rank = 1, .size = 2});
  EXPECT_THROW(mlp.forward(at::ones({kT, kIn}), {}), Error);
  comm::run_ranks(3, [](comm::World& world) {
    const TensorParallel tp{world.world_group()};
    Context context;
    context.tp = &tp;
    Mlp whole;
    whole.give_values({});
    EXPECT_THROW(whole.forward(at::ones({kT, kIn}), context), Error);
  });
}

// Rows and columns that come together have the gradients of what every rank does alike.
TEST(TensorParallel, GathersForWhatAllRanksDoAlike) {
  at::manual_seed(5);
  const at::Tensor x = at::randn({kT, kIn}), dy = at::randn({kT, kIn});
  comm::run_ranks(3, [&](comm::World& world) {
    const TensorParallel tp{world.world_group(), /*sequence=*/true};
    Context context;
    context.tp = &tp;
    const at::Tensor rows = rows_of(x, context).set_requires_grad(true);
    const at::Tensor all = all_rows(rows, RowUse::kAlike, context);
    EXPECT_TRUE(at::equal(all.detach(), x));
    all.backward(dy);
    EXPECT_TRUE(at::equal(rows.grad(), own_rows(dy, context)));

    const DimRange own = slice_of(kIn, tp.slice());
    const at::Tensor columns = x.narrow(1, own.begin, own.size()).clone().set_requires_grad(true);
    const at::Tensor wide = all_columns(columns, kIn, context);
    EXPECT_TRUE(at::equal(wide.detach(), x));
    wide.backward(dy);
    EXPECT_TRUE(at::equal(columns.grad(), dy.narrow(1, own.begin, own.size())));
  });
}

}  // namespace
}  // namespace trireme::nn
