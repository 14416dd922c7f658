#include "trireme/plan/plan.h"

#include <gtest/gtest.h>

#include "tests/plan/even_machine.h"
#include "trireme/comm/testing.h"
#include "trireme/device/caching_allocator.h"
#include "trireme/models/bert.h"
#include "trireme/models/gpt2.h"
#include "trireme/optim/adamw.h"
#include "trireme/parallel/engine.h"
#include "trireme/plan/holders.h"
#include "trireme/plan/search.h"

namespace trireme::plan {
namespace {

models::Gpt2Config small_gpt2() {
  models::Gpt2Config c;
  c.vocab_size = 503;
  c.n_positions = 128;
  c.n_embd = 64;
  c.n_layer = 4;
  c.n_head = 4;
  c.n_inner = 256;
  c.resid_pdrop = c.embd_pdrop = c.attn_pdrop = 0;
  return c;
}

// A GPT-2, samples of one length, an even machine of 2 cores.
class Plans : public ::testing::Test {
 protected:
  Plans() : Plans(small_gpt2()) {}
  explicit Plans(const models::Gpt2Config& config)
      : model_(config), of_stages_(config, models::TiedHead::kCopies), lengths_(1000, 128) {
    input_ = {.sizes = sizes_of(config),
              .units = model_.units(),
              .stage_units = of_stages_.units(),
              .dtype = Dtype::kFp32,
              .lengths = lengths_,
              .batch = {.global_batch_samples = 16, .global_batch_tokens = 0},
              .micro_batch_tokens = 256,
              .steps = 2,
              .machine = &machine_};
  }
  Plan plan(const parallel::Layout& layout) const { return make_plan(input_, layout); }
  int64_t numel() const {
    int64_t n = 0;
    for (const nn::Param* param : nn::params_once(model_.units())) n += param->spec.numel();
    return n;
  }

  models::Gpt2LmHeadModel model_, of_stages_;
  std::vector<int32_t> lengths_;
  Machine machine_ = testing::even_machine();
  PlanInput input_;
};

TEST_F(Plans, AStepIsItsTokensAndMicroBatches) {
  const Plan one = plan({});
  EXPECT_EQ(one.tokens, 16 * 128);
  EXPECT_EQ(one.micro_batches, 8);
  EXPECT_EQ(one.bubble, 0);
  EXPECT_EQ(plan({.dp = 2}).micro_batches, 4);
  for (const AxisTraffic& traffic : one.traffic) EXPECT_EQ(traffic.messages, 0);
}

TEST_F(Plans, ComputingIsAtLeastTheProductsAtTheMachinesRate) {
  const double flops = 16.0 * 128 * small_gpt2().flops_per_token();
  const Plan one = plan({});
  EXPECT_GT(one.step_s, flops / 100e9);
  // Kernels that are not products take a nanosecond an element here: most of so small a model.
  input_.dtype = Dtype::kBf16;  // twice the rate, the rest as before
  const Plan half = plan({});
  EXPECT_NEAR(one.step_s - half.step_s, flops / 200e9, 0.02 * flops / 200e9);
}

TEST_F(Plans, RecomputeTakesTimeAndSavesMemory) {
  const Plan kept = plan({}), again = plan({.recompute = true});
  EXPECT_GT(again.step_s, 1.1 * kept.step_s);
  EXPECT_LT(again.stages[0].activations, 0.6 * static_cast<double>(kept.stages[0].activations));
}

TEST_F(Plans, GradientsTravelOnceAStepOrOnceAMicroBatch) {
  const auto data = static_cast<size_t>(Axis::kData);
  const auto bytes = static_cast<double>(numel()) * 4;
  const auto slack = bytes / 50;                                   // padding of buckets, the loss
  EXPECT_NEAR(plan({.dp = 2}).traffic[data].bytes, bytes, slack);  // 2 (n - 1) / n
  // Half goes to the other rank. Values are read where they lie: none travel.
  EXPECT_NEAR(plan({.dp = 2, .zero = 1}).traffic[data].bytes, bytes / 2, slack);
  EXPECT_NEAR(plan({.dp = 2, .zero = 2}).traffic[data].bytes, 4 * bytes / 2, 4 * slack);
  // Between hosts they do: after the update, or forward and backward of each micro-batch.
  input_.ranks_per_host = 1;
  EXPECT_NEAR(plan({.dp = 2, .zero = 1}).traffic[data].bytes, bytes / 2 + bytes / 2, slack);
  EXPECT_GT(plan({.dp = 2, .zero = 3}).traffic[data].bytes, (4 + 2 * 4) * bytes / 2 - 8 * slack);
}

TEST_F(Plans, TensorParallelCutsProductsAndExchangesRows) {
  const Plan whole = plan({}), cut = plan({.tp = 2});
  EXPECT_LT(cut.stages[0].held.numel, 0.55 * static_cast<double>(whole.stages[0].held.numel));
  // Two sums forward and two backward a block of [T, H], the embeddings, and the head's.
  const double rows = 16 * 128 * 64 * 4;
  EXPECT_NEAR(cut.traffic[static_cast<size_t>(Axis::kTp)].bytes, rows * (4 * 4 + 2), rows);
}

TEST_F(Plans, ContextParallelSharesRows) {
  const Plan whole = plan({}), shared = plan({.cp = 2});
  EXPECT_EQ(shared.micro_batches, 4);  // a rank still has 256 rows
  EXPECT_GT(shared.traffic[static_cast<size_t>(Axis::kCp)].bytes, 0);
  EXPECT_LT(shared.step_s, whole.step_s);
}

TEST_F(Plans, EveryStageHasItsUnits) {
  const Plan two = plan({.pp = 2, .schedule = "1f1b"});
  ASSERT_EQ(two.stages.size(), 2U);
  EXPECT_EQ(two.stages[0].first_unit, 0);
  EXPECT_EQ(two.stages[0].end_unit, two.stages[1].first_unit);
  EXPECT_EQ(two.stages[1].end_unit, 6);
  // The word table is in both.
  EXPECT_EQ(two.stages[0].held.numel + two.stages[1].held.numel, numel() + 503 * 64);
}

// Stages of equal work: no vocabulary to speak of.
class EvenPlans : public Plans {
 protected:
  static models::Gpt2Config even() {
    models::Gpt2Config c = small_gpt2();
    c.vocab_size = 8;
    return c;
  }
  EvenPlans() : Plans(even()) {}
};

TEST_F(EvenPlans, TheBubbleIsTheSchedules) {
  const Plan gpipe = plan({.pp = 2, .schedule = "gpipe"});
  EXPECT_NEAR(gpipe.bubble, 1.0 / (8 + 1), 0.05);  // (S - 1) / (M + S - 1), were stages equal
  const Plan zero = plan({.pp = 2, .schedule = "zb_h1"});
  EXPECT_LT(zero.bubble, gpipe.bubble);
  EXPECT_LT(zero.step_s, gpipe.step_s);
}

TEST_F(EvenPlans, GPipeHoldsAllMicroBatchesAnd1F1BAsManyAsStages) {
  const auto activations = [&](const char* schedule) {
    return static_cast<double>(plan({.pp = 2, .schedule = schedule}).stages[0].activations);
  };
  EXPECT_NEAR(activations("gpipe") / activations("1f1b"), 8.0 / 2, 0.8);
}

TEST_F(EvenPlans, FewMicroBatchesStandForMany) {
  const parallel::Layout layout{.pp = 2, .schedule = "1f1b"};
  const Plan all = plan(layout);
  input_.most_micro_batches = 2;
  const Plan few = plan(layout);
  EXPECT_NEAR(few.step_s, all.step_s, 0.01 * all.step_s);
  EXPECT_NEAR(few.traffic[0].bytes, all.traffic[0].bytes, 0.01 * all.traffic[0].bytes);
  EXPECT_EQ(few.micro_batches, all.micro_batches);
}

// Against the engine: what two ranks' tensors count for, in one process.
class HeldBytesOf : public ::testing::TestWithParam<std::tuple<int, bool>> {};

TEST_P(HeldBytesOf, AnEngineIsWhatItsTensorsCountFor) {
  using device::MemoryCategory;
  const auto [zero, bf16] = GetParam();
  device::CachingAllocator& memory = device::install_caching_allocator();
  const auto bytes = [&](MemoryCategory category) { return memory.stats().of(category).bytes; };
  const int64_t parameters = bytes(MemoryCategory::kParameters),
                gradients = bytes(MemoryCategory::kGradients),
                optimizer = bytes(MemoryCategory::kOptimizer);
  int64_t found[3] = {};
  comm::run_ranks(2, [&, stage = zero, half = bf16](comm::World& world) {
    models::Gpt2LmHeadModel model(small_gpt2());
    parallel::Engine engine(
        model.units(), world.world_group(),
        {.compute_dtype = half ? at::kBFloat16 : at::kFloat, .zero_stage = stage});
    engine.init(1);
    const optim::AdamW adamw(engine.flat_buffers(), {});
    world.world_group().barrier("all are made");
    if (world.rank() == 0) {
      found[0] = bytes(MemoryCategory::kParameters) - parameters;
      found[1] = bytes(MemoryCategory::kGradients) - gradients;
      found[2] = bytes(MemoryCategory::kOptimizer) - optimizer;
    }
    world.world_group().barrier("all are counted");
  });
  models::Gpt2LmHeadModel model(small_gpt2());
  const auto list =
      holders(model.units(), bf16 ? Dtype::kBf16 : Dtype::kFp32, {.dp = 2, .zero = zero}, 2);
  ASSERT_EQ(list.size(), 1U);
  EXPECT_EQ(2 * list[0].held.parameters, found[0]);
  EXPECT_EQ(2 * list[0].held.gradients, found[1]);
  EXPECT_EQ(2 * list[0].held.optimizer, found[2]);
  EXPECT_EQ(list[0].ranks, "0-1");
}

INSTANTIATE_TEST_SUITE_P(Stages, HeldBytesOf,
                         ::testing::Combine(::testing::Values(0, 1, 2, 3), ::testing::Bool()));

TEST_F(Plans, HoldersNameTheirRanks) {
  const auto list =
      holders(of_stages_.units(), Dtype::kBf16, {.pp = 2, .dp = 2, .tp = 2, .schedule = "1f1b"}, 8);
  ASSERT_EQ(list.size(), 4U);
  EXPECT_EQ(list[0].ranks, "0, 2");
  EXPECT_EQ(list[3].ranks, "5, 7");
  EXPECT_EQ(list[3].units, "h.2 .. head");
  int64_t sum = 0;
  for (const Holder& holder : list) sum += holder.held.numel;
  EXPECT_GT(sum, numel());
  EXPECT_LT(sum, numel() + 2 * 503 * 64);  // the table twice, norms and positions on both of tp
  EXPECT_NE(table(list).find("h.2 .. head"), std::string::npos);
  // The Params are as before.
  EXPECT_EQ(of_stages_.units()[1].params[2]->slice.size, 1);
}

TEST_F(Plans, ComparedWithWhatWasMeasured) {
  Plan plan;
  plan.tokens = 1000;
  plan.step_s = 0.5;
  plan.stages.emplace_back().peak_rss = 100 << 20;
  EXPECT_EQ(compare(plan, {.tokens_per_s = 2500, .peak_rss_bytes = {90 << 20, 110 << 20}}),
            "step: planned 0.5000 s, measured 0.4000 s (-20 %); peak of a rank: planned 100 MiB, "
            "measured 110 MiB (+10 %)");
}

TEST(AllLayouts, OfTwoRanks) {
  // dp: 4 stages x recompute; tp: recompute x sequence; cp: 4 stages x recompute x 2 methods;
  // pp: 5 schedules x recompute.
  EXPECT_EQ(all_layouts(2, "pp,dp,cp,tp").size(), 8U + 4 + 16 + 10);
  for (const parallel::Layout& layout : all_layouts(12, "pp,dp,cp,tp")) {
    EXPECT_EQ(layout.world(), 12) << parallel::text(layout);
  }
}

TEST_F(Plans, TheSearchRanksWhatFits) {
  SearchOptions options{
      .world = 4,
      .limits = {.layers = 4, .heads = 4, .longest_sequence = 128, .micro_batch_tokens = 256},
      .memory_bytes = int64_t{1} << 40};
  const Search search = search_layouts(input_, options);
  EXPECT_EQ(search.best.size(), 10U);
  EXPECT_EQ(search.too_large, 0);
  int64_t illegal = 0;
  for (const auto& [reason, count] : search.illegal) illegal += count;
  EXPECT_EQ(illegal + search.legal, static_cast<int64_t>(all_layouts(4, options.order).size()));
  EXPECT_GT(search.illegal.at("ZeRO stage 3 with stages"), 0);
  for (size_t i = 0; i < search.best.size(); ++i) {
    const Plan& best = search.best[i];
    EXPECT_TRUE(parallel::layout_faults(best.layout, options.limits).empty());
    EXPECT_GE(best.step_s, search.best[i > 0 ? i - 1 : 0].step_s);
    EXPECT_DOUBLE_EQ(best.step_s, plan(best.layout).step_s);
  }
  // No more than the smallest needs.
  options.memory_bytes = search.least_peak;
  const Search tight = search_layouts(input_, options);
  EXPECT_EQ(tight.legal, search.legal);
  EXPECT_GE(tight.too_large, tight.legal - 10);
  for (const Plan& fits : tight.best) EXPECT_LE(fits.peak_rss(), options.memory_bytes);
  options.memory_bytes = 1;
  EXPECT_NE(table(search_layouts(input_, options), options).find("none fits; the smallest needs"),
            std::string::npos);
}

}  // namespace
}  // namespace trireme::plan
