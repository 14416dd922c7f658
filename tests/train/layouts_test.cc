// Every layout gives what one process gives: pipeline, data, context and tensor parallel ranks in
// all factorings of 1, 2, 4 and 8, every pipeline schedule, ZeRO's stages; GPT-2 and BERT, trained
// by the trainer, saved and read back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include "tests/base/test_util.h"
#include "tests/train/fake_task.h"
#include "tests/train/small_tasks.h"
#include "trireme/io/safetensors.h"
#include "trireme/parallel/layout.h"

namespace trireme::train {
namespace {

using parallel::Layout;

constexpr int64_t kLayers = 8;  // of the matrix

struct Result {
  std::vector<double> losses;
  double evaluation = 0;
  std::map<std::string, at::Tensor> gradients;  // of the first step, to a factor
  std::map<std::string, at::Tensor> tensors;    // at the end: weights and moments
};

struct Variant {
  bool lm = true;
  bool bf16 = false;
  double dropout = 0;
  int64_t layers = kLayers;
  int64_t steps = 2;
  int64_t stop_at = 0;
  std::string text() const {
    return cat(lm ? "GPT-2" : "BERT", bf16 ? " bf16" : " fp32", dropout > 0 ? " dropout" : "");
  }
};

std::unique_ptr<tasks::Task> make_task(const Variant& variant, const Layout& layout) {
  if (!variant.lm) return std::make_unique<testing::SmallQaTask>(variant.layers, variant.dropout);
  return std::make_unique<testing::SmallLmTask>(testing::SmallLmTask::Options{
      .layers = variant.layers, .dropout = variant.dropout, .staged = layout.pp > 1});
}

void read_tensors(const std::string& path, std::map<std::string, at::Tensor>& into) {
  const io::SafetensorsFile file(path);
  for (const io::TensorInfo& info : file.tensors()) {
    const at::Tensor tensor = at::empty(info.shape, at::kFloat);
    const auto bytes = file.view(info.name).bytes;
    std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
    into[info.name] = tensor;
  }
}

Result run(const Variant& variant, const Layout& layout, const std::string& resume = "",
           const std::string& keep_in = "") {
  const test::TempDir scratch;
  const std::string dir = keep_in.empty() ? scratch.path() : keep_in;
  testing::Settings settings = {
      cat("parallel.pp=", layout.pp), cat("parallel.dp=", layout.dp),
      cat("parallel.cp=", layout.cp), cat("parallel.tp=", layout.tp),
      cat("parallel.zero=", layout.zero), cat("parallel.schedule=", layout.schedule),
      cat("parallel.chunks=", layout.chunks),
      cat("parallel.recompute=", layout.recompute ? "true" : "false"),
      cat("parallel.sequence_parallel=", layout.sequence_parallel ? "true" : "false"),
      "parallel.cp_method=" + layout.cp_method, "parallel.order=" + layout.order,
      "checkpoint.dir=" + dir, "checkpoint.every=1", "checkpoint.keep=99",
      "data.global_batch_samples=12", cat("train.steps=", variant.steps),
      cat("train.stop_at=", variant.stop_at),
      cat("train.precision=", variant.bf16 ? "bf16" : "fp32"), "optim.lr=0.01",
      // Keeps the noise of gradients that are truly zero (a key's bias) small.
      "optim.eps=0.01"};
  Json effective;
  const RunConfig config = testing::make_config(settings, &effective);
  Result result;
  std::mutex mutex;
  std::string checkpoint;
  comm::run_ranks(static_cast<int>(layout.world()), [&](comm::World& world) {
    const auto task = make_task(variant, layout);
    TrainOptions options;
    options.resume = resume;
    const TrainResult trained = train(config, effective, world, *task, options);
    if (world.rank() != 0) return;
    const std::lock_guard lock(mutex);
    result.losses = trained.losses;
    result.evaluation = trained.eval.at("loss").get<double>();
    checkpoint = trained.checkpoint;
  });
  for (const char* file : {"model.safetensors", "optimizer.safetensors"})
    read_tensors(checkpoint + "/" + file, result.tensors);
  // exp_avg began at zero.
  if (!resume.empty()) return result;
  read_tensors(dir + "/step-00000001/optimizer.safetensors", result.gradients);
  std::erase_if(result.gradients,
                [](const auto& entry) { return !entry.first.starts_with("exp_avg."); });
  return result;
}

const Result& one_process(const Variant& variant) {
  static std::map<std::string, Result> results;
  const auto found = results.find(variant.text());
  if (found != results.end()) return found->second;
  return results[variant.text()] = run(variant, {});
}

double norm(const std::map<std::string, at::Tensor>& tensors) {
  double squares = 0;
  for (const auto& [name, tensor] : tensors) squares += tensor.square().sum().item<double>();
  return std::sqrt(squares);
}

// ||a - b|| <= relative ||b|| + absolute ||all of b||, tensor by tensor.
void expect_close(const std::map<std::string, at::Tensor>& a,
                  const std::map<std::string, at::Tensor>& b, double relative, double absolute) {
  ASSERT_EQ(a.size(), b.size());
  const double slack = absolute * norm(b);
  for (const auto& [name, tensor] : b) {
    const double difference = (a.at(name) - tensor).norm().item<double>();
    EXPECT_LE(difference, relative * tensor.norm().item<double>() + slack) << name;
  }
}

void expect_equals_one_process(const Variant& variant, const Result& result) {
  const Result& one = one_process(variant);
  ASSERT_EQ(result.losses.size(), one.losses.size());
  for (size_t i = 0; i < one.losses.size(); ++i) {
    EXPECT_NEAR(result.losses[i], one.losses[i], variant.bf16 ? 2e-2 : i == 0 ? 1e-5 : 1e-4);
  }
  EXPECT_NEAR(result.evaluation, one.evaluation, variant.bf16 ? 2e-2 : 1e-4);
  expect_close(result.gradients, one.gradients, variant.bf16 ? 2e-2 : 1e-5,
               variant.bf16 ? 2e-3 : 1e-7);
  expect_close(result.tensors, one.tensors, variant.bf16 ? 3e-2 : 1e-4, variant.bf16 ? 1e-3 : 1e-6);
}

// All factorings of `ranks` over the four axes.
std::vector<Layout> factorings(int64_t ranks) {
  std::vector<Layout> all;
  for (int64_t pp = 1; pp <= ranks; pp *= 2) {
    for (int64_t dp = 1; pp * dp <= ranks; dp *= 2) {
      for (int64_t cp = 1; pp * dp * cp <= ranks; cp *= 2) {
        all.push_back({.pp = pp, .dp = dp, .cp = cp, .tp = ranks / (pp * dp * cp)});
      }
    }
  }
  return all;
}

// A layout of the matrix, and the settings that it has by turns.
struct Case {
  Variant variant;
  std::vector<Layout> layouts;  // that differ in the schedule alone
};

std::vector<Case> matrix(int64_t ranks) {
  std::vector<Case> cases;
  int turn = 0;
  for (Layout layout : factorings(ranks)) {
    for (const bool lm : {true, false}) {
      for (const int64_t zero : {0, 1, 2}) {
        if (layout.data_ranks() == 1 && zero > 0) continue;
        ++turn;
        layout.zero = zero;
        layout.sequence_parallel = layout.tp > 1 && turn % 2 == 0;
        layout.cp_method =
            layout.cp > 1 && layout.tp * layout.cp <= 8 && turn % 3 == 0 ? "ulysses" : "ring";
        layout.recompute = turn % 4 == 0;
        layout.order = turn % 5 == 0 ? "dp,pp,tp,cp" : "pp,dp,cp,tp";
        Case one{.variant = {.lm = lm, .dropout = turn % 2 == 0 ? 0.0 : 0.1}, .layouts = {}};
        if (layout.pp == 1) {
          layout.schedule = "none";
          layout.chunks = 1;
          one.layouts = {layout};
        } else {
          for (const char* schedule : {"gpipe", "1f1b", "interleaved", "zb_h1", "zbv"}) {
            layout.schedule = schedule;
            layout.chunks =
                schedule == std::string("interleaved") || schedule == std::string("zbv") ? 2 : 1;
            if (layout.pp * layout.chunks > kLayers) continue;
            one.layouts.push_back(layout);
          }
        }
        cases.push_back(std::move(one));
      }
    }
  }
  return cases;
}

class Layouts : public ::testing::TestWithParam<int> {};

TEST_P(Layouts, EqualOneProcess) {
  int runs = 0;
  for (const Case& one : matrix(GetParam())) {
    std::optional<Result> first;
    for (const Layout& layout : one.layouts) {
      if (std::getenv("TRACE_LAYOUTS") != nullptr)
        std::printf("%s %s order=%s\n", one.variant.text().c_str(), parallel::text(layout).c_str(),
                    layout.order.c_str());
      SCOPED_TRACE(cat(one.variant.text(), ": ", parallel::text(layout), " order=", layout.order));
      ++runs;
      const Result result = run(one.variant, layout);
      expect_equals_one_process(one.variant, result);
      if (HasFailure()) return;
      // Where the schedule alone differs: the same bits. At ZeRO's stage 2, which sums over the
      // ranks micro-batch by micro-batch, a split backward's biases come earlier than its weights.
      const bool split = layout.schedule.starts_with("zb");
      if (layout.zero == 2 && split) continue;
      if (!first) {
        first = result;
        continue;
      }
      EXPECT_EQ(result.losses, first->losses);
      for (const auto& [name, tensor] : first->tensors)
        EXPECT_TRUE(at::equal(result.tensors.at(name), tensor)) << name;
    }
  }
  RecordProperty("layouts", runs);
  std::printf("%d layouts of %d ranks\n", runs, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Ranks, Layouts, ::testing::Values(1, 2, 4, 8));

TEST(Layouts, Bf16) {
  for (const bool lm : {true, false}) {
    const Variant variant{.lm = lm, .bf16 = true, .layers = 2};
    for (const Layout& layout :
         {Layout{.tp = 2}, Layout{.pp = 2, .schedule = "1f1b"}, Layout{.cp = 2},
          Layout{.pp = 2, .dp = 1, .tp = 2, .schedule = "zb_h1", .sequence_parallel = true},
          Layout{.dp = 2, .tp = 2, .zero = 2}}) {
      SCOPED_TRACE(cat(variant.text(), ": ", parallel::text(layout)));
      expect_equals_one_process(variant, run(variant, layout));
    }
  }
}

TEST(Layouts, ACurveOfTwentySteps) {
  const Variant variant{.lm = true, .dropout = 0.1, .steps = 20};
  const Result one = run(variant, {});
  for (const Layout& layout : {Layout{.pp = 2, .tp = 2, .schedule = "zbv", .chunks = 2},
                               Layout{.dp = 2, .cp = 2, .zero = 1}}) {
    const Result many = run(variant, layout);
    for (size_t i = 0; i < one.losses.size(); ++i)
      EXPECT_NEAR(many.losses[i], one.losses[i], 1e-4) << parallel::text(layout) << ", step " << i;
  }
}

// A run goes on in whatever layout; in its own bit for bit.
TEST(Layouts, GoOnInAnother) {
  const std::vector<Layout> layouts = {
      {},
      {.pp = 2, .dp = 2, .zero = 1, .schedule = "1f1b"},
      {.dp = 1, .cp = 2, .tp = 2, .sequence_parallel = true},
      {.pp = 2, .tp = 2, .zero = 0, .schedule = "zbv", .chunks = 2}};
  const Variant whole{.dropout = 0.1, .steps = 4};
  Variant half = whole;
  half.stop_at = 2;
  std::vector<Result> unbroken;
  for (const Layout& layout : layouts) unbroken.push_back(run(whole, layout));
  for (const Layout& from : layouts) {
    const test::TempDir saved;
    run(half, from, "", saved.path());
    for (size_t to = 0; to < layouts.size(); ++to) {
      SCOPED_TRACE(cat(parallel::text(from), " -> ", parallel::text(layouts[to])));
      const Result rest = run(whole, layouts[to], saved.path());
      ASSERT_EQ(rest.losses.size(), 4U);
      for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(rest.losses[i], unbroken[0].losses[i], 1e-4);
      expect_close(rest.tensors, unbroken[0].tensors, 1e-4, 1e-6);
      if (!(from == layouts[to])) continue;
      EXPECT_EQ(rest.losses, unbroken[to].losses);
      for (const auto& [name, tensor] : unbroken[to].tensors)
        EXPECT_TRUE(at::equal(rest.tensors.at(name), tensor)) << name;
    }
  }
}

}  // namespace
}  // namespace trireme::train
