#include "trireme/nn/param.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "trireme/base/error.h"
#include "trireme/base/random.h"

namespace trireme::nn {
namespace {

ParamSpec fused() {
  ParamSpec spec;
  spec.name = "qk";
  spec.shape = {5, 4};
  spec.parts = {{"q", 2}, {"k", 3}};
  return spec;
}

TEST(Param, AWeightQueuePutsGradientsOff) {
  struct Sink : GradSink {
    int calls = 0;
    void param_ready(Param&) override { ++calls; }
  } sink;
  Param param(fused());
  param.sink = &sink;
  param.main_grad = at::zeros({5, 4});
  const auto backward = [&](double gradient) {
    param.later([&param, gradient] {
      param.grad().add_(gradient);
      param.ready();
    });
  };
  backward(1);
  EXPECT_EQ(sink.calls, 1);
  WeightQueue queue;
  param.weight_queue = &queue;
  backward(2);
  param.grad().add_(4);  // a bias's, at once
  param.ready();
  param.weight_queue = nullptr;
  EXPECT_EQ(sink.calls, 1);
  EXPECT_EQ(param.main_grad.max().item<double>(), 5);
  queue.run();
  EXPECT_EQ(sink.calls, 3);
  EXPECT_EQ(param.main_grad.max().item<double>(), 7);
  queue.run();  // empty
  EXPECT_EQ(sink.calls, 3);
}

TEST(Param, ReadyAfterAllUses) {
  struct Sink : GradSink {
    int calls = 0;
    void param_ready(Param&) override { ++calls; }
  } sink;
  Param param(fused());
  param.sink = &sink;
  param.uses = 2;
  param.ready();  // frozen: no main_grad
  EXPECT_EQ(sink.calls, 0);
  param.main_grad = at::zeros({5, 4});
  param.ready();
  EXPECT_EQ(sink.calls, 0);
  param.ready();
  EXPECT_EQ(sink.calls, 1);
  param.ready();
  param.reset_ready();
  param.ready();
  EXPECT_EQ(sink.calls, 1);
}

TEST(Param, PartsAreViewsOfRows) {
  Param param(fused());
  at::Tensor whole = at::zeros({5, 4});
  const std::vector<PartView> parts = part_views(param, whole);
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[1].part->name, "k");
  EXPECT_EQ(parts[1].row_begin, 2);
  at::Tensor(parts[1].view).fill_(1);
  EXPECT_EQ(whole.sum().item<float>(), 12.0f);
  EXPECT_THROW(part_views(param, at::zeros({6, 4})), Error);
}

TEST(Param, InitialValuesAreTheNormalsOfTheirNames) {
  Param param(fused());
  at::Tensor fp32 = at::empty({5, 4}), bf16 = at::empty({5, 4}, at::kBFloat16);
  init_param(param, 7, fp32);
  init_param(param, 7, bf16);
  EXPECT_EQ(fp32[1][3].item<float>(), static_cast<float>(0.02 * normal(7, hash_name("q"), 7)));
  EXPECT_EQ(fp32[2][0].item<float>(), static_cast<float>(0.02 * normal(7, hash_name("k"), 0)));
  EXPECT_TRUE(at::equal(bf16, fp32.to(at::kBFloat16)));
  param.spec.init = InitKind::kOnes;
  init_param(param, 7, fp32);
  EXPECT_TRUE(at::equal(fp32, at::ones({5, 4})));
}

TEST(Param, AFreshGradientReplacesWhatWasThere) {
  struct Sink : GradSink {
    int needed = 0;
    void grad_needed(Param&) override { ++needed; }
    void param_ready(Param&) override {}
  } sink;
  Param param(vector_spec("bias", 3, InitKind::kZeros));
  EXPECT_FALSE(param.grad().defined());  // frozen
  param.main_grad = at::full({3}, 5.0);
  param.sink = &sink;
  param.grad().add_(1);
  EXPECT_EQ(param.main_grad[0].item<double>(), 6);
  EXPECT_EQ(sink.needed, 0);
  param.expect_fresh_grad();
  param.grad().add_(1);
  param.grad().add_(1);
  EXPECT_EQ(param.main_grad[0].item<double>(), 2);
  EXPECT_EQ(sink.needed, 1);
  param.expect_fresh_grad();
  EXPECT_TRUE(param.grad_target().fresh);
  EXPECT_FALSE(param.grad_target().fresh);
  EXPECT_EQ(param.main_grad[0].item<double>(), 2);  // to be written by whoever asked
}

TEST(Param, ARunHasTheBitsOfTheWhole) {
  ParamSpec spec = matrix_spec("fused", {{"a", 3}, {"b", 4}}, 5, 0.1);
  const Param param(spec);
  const at::Tensor whole = at::zeros({7, 5});
  init_param(param, 9, whole);
  const at::Tensor run = at::zeros({11});
  init_run(spec, "b", 9, 6, run);
  EXPECT_TRUE(at::equal(run, whole.view({-1}).narrow(0, 15 + 6, 11)));
  const at::Tensor rounded = at::zeros({11}, at::kBFloat16);
  init_run(spec, "b", 9, 6, rounded);
  EXPECT_TRUE(at::equal(rounded, run.to(at::kBFloat16)));
}

// A cut Param starts from the bits of the whole one's slices: parts each on their own, blocks each
// on their own, uneven and empty slices.
TEST(Param, ACutStartsFromTheBitsOfTheWhole) {
  ParamSpec fused = matrix_spec("fused", {{"q", 5}, {"k", 3}, {"v", 1}}, 4, 0.1);
  ParamSpec conv = matrix_spec("conv", 4, 15, 0.1);
  conv.tp_dim = 1;
  conv.tp_blocks = 3;
  ParamSpec row = matrix_spec("row", {{"a", 2}, {"b", 3}}, 7, 0.1);
  row.tp_dim = 1;
  ParamSpec bias = vector_spec("bias", {{"qb", 5}, {"kb", 3}}, InitKind::kNormal);
  for (ParamSpec* spec : {&fused, &conv, &row, &bias}) {
    spec->tp = TpKind::kShard;
    Param whole(*spec);
    allocate_values({{"unit", {&whole}}}, at::kFloat);
    init_param(whole, 3, whole.value);
    for (const int size : {2, 3}) {
      int64_t elements = 0;
      for (int rank = 0; rank < size; ++rank) {
        Param cut(*spec);
        const std::vector<UnitParams> units = {{"unit", {&cut}}};
        allocate_values(units, at::kFloat, {rank, size});
        allocate_grads(units);
        EXPECT_EQ(cut.main_grad.sizes(), cut.value.sizes());
        init_param(cut, 3, cut.value);
        elements += cut.value.numel();
        const std::vector<PartView> wholes = part_views(whole, whole.value);
        const std::vector<PartView> parts = part_views(cut, cut.value);
        ASSERT_EQ(parts.size(), spec->parts.size());
        for (size_t p = 0; p < parts.size(); ++p) {
          at::Tensor want = at::empty(parts[p].cut.local_shape());
          parts[p].cut.copy_from(want, wholes[p].view);
          EXPECT_TRUE(at::equal(parts[p].view, want)) << parts[p].part->name << rank << size;
        }
      }
      EXPECT_EQ(elements, spec->numel());
    }
  }
  Param values(fused);
  allocate_values({{"unit", {&values}}}, at::kFloat, {1, 2});
  EXPECT_EQ(values.value.size(0), 3 + 2 + 1);
  allocate_values({{"unit", {&values}}}, at::kFloat, {0, 2});
  EXPECT_EQ(values.value.size(0), 2 + 1 + 0);
}

}  // namespace
}  // namespace trireme::nn
