// ZeRO stages and recompute, against one process that holds everything (contract: for each tensor
// ||g - g'|| <= 1e-5 ||g'|| + 1e-7 ||all|| in fp32, 2e-2 in bf16).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/parallel/small_models.h"
#include "trireme/base/error.h"
#include "trireme/comm/testing.h"

namespace trireme::parallel {
namespace {

using ::testing::AllOf;
using testing::Assembly;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::SmallBert;
using testing::SmallBertPreTraining;
using testing::SmallGpt2;
using testing::SmallModel;
using testing::SmallResult;
using testing::SmallRun;
using Tensors = std::map<std::string, at::Tensor>;
using MakeModel = std::function<std::unique_ptr<SmallModel>()>;

double norm_of(const Tensors& tensors) {
  double squares = 0;
  for (const auto& [name, tensor] : tensors) squares += tensor.square().sum().item<double>();
  return std::sqrt(squares);
}

void expect_close(const Tensors& got, const Tensors& want, double tolerance) {
  EXPECT_EQ(got.size(), want.size());
  const double all = norm_of(want);
  for (const auto& [name, tensor] : want) {
    if (!got.contains(name)) {
      ADD_FAILURE() << name << " is missing";
      continue;
    }
    const double error = (got.at(name) - tensor).norm().item<double>();
    EXPECT_LE(error, tolerance * tensor.norm().item<double>() + 1e-7 * all) << name;
  }
}

void expect_equal(const Tensors& a, const Tensors& b) {
  EXPECT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) EXPECT_TRUE(at::equal(tensor, b.at(name))) << name;
}

SmallResult train(int ranks, const MakeModel& make, const SmallRun& run) {
  SmallResult result;
  Assembly assembly;
  comm::run_ranks(ranks,
                  [&](comm::World& world) { train_small(world, *make(), run, assembly, result); });
  return result;
}

template <class Model>
MakeModel maker() {
  return [] { return std::make_unique<Model>(); };
}

const std::map<std::string, MakeModel>& all_models() {
  static const std::map<std::string, MakeModel> models = {{"GPT-2", maker<SmallGpt2>()},
                                                          {"BERT", maker<SmallBert>()}};
  return models;
}

const SmallResult& single_process(const std::string& model, at::ScalarType dtype) {
  static std::map<std::pair<std::string, at::ScalarType>, SmallResult> results;
  SmallResult& result = results[{model, dtype}];
  if (result.losses.empty()) result = train(1, all_models().at(model), {.dtype = dtype});
  return result;
}

// What all ranks of one world run, one after the other.
struct Case {
  std::string model;
  SmallRun run;
  Assembly assembly;
  SmallResult result;
};

std::vector<std::unique_ptr<Case>> all_cases() {
  std::vector<std::unique_ptr<Case>> cases;
  for (const auto& [model, make] : all_models()) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      for (const int stage : {0, 1, 2, 3}) {
        for (const int micro_batches : {1, 4}) {
          for (const bool recompute : {false, true}) {
            cases.push_back(std::make_unique<Case>());
            cases.back()->model = model;
            cases.back()->run = {.dtype = dtype,
                                 .zero_stage = stage,
                                 .micro_batches = micro_batches,
                                 .recompute = recompute};
          }
        }
      }
    }
  }
  return cases;
}

class ZeroRanks : public ::testing::TestWithParam<int> {};

TEST_P(ZeroRanks, EqualsOneProcess) {
  const std::vector<std::unique_ptr<Case>> cases = all_cases();
  comm::run_ranks(GetParam(), [&](comm::World& world) {
    for (const auto& one : cases) {
      train_small(world, *all_models().at(one->model)(), one->run, one->assembly, one->result);
    }
  });
  for (size_t i = 0; i < cases.size(); ++i) {
    const auto& [model, run, assembly, result] = *cases[i];
    const bool bf16 = run.dtype == at::kBFloat16;
    SCOPED_TRACE(cat(model, bf16 ? " bf16" : " fp32", " stage ", run.zero_stage, ", ",
                     run.micro_batches, " micro-batches", run.recompute ? ", recompute" : ""));
    const SmallResult& single = single_process(model, run.dtype);
    EXPECT_NEAR(result.losses.at(0), single.losses.at(0), bf16 ? 2e-3 : 1e-5);
    EXPECT_NEAR(result.losses.at(1), single.losses.at(1), bf16 ? 2e-2 : 1e-4);
    EXPECT_NEAR(result.grad_norm, norm_of(result.gradients), 1e-5 * result.grad_norm);
    expect_close(result.gradients, single.gradients, bf16 ? 2e-2 : 1e-5);
    expect_close(result.masters, single.masters, bf16 ? 2e-2 : 1e-5);
    if (run.recompute) {  // the case before is the same without
      EXPECT_EQ(result.losses, cases[i - 1]->result.losses);
      expect_equal(result.gradients, cases[i - 1]->result.gradients);
      expect_equal(result.masters, cases[i - 1]->result.masters);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, ZeroRanks, ::testing::Values(1, 2, 3, 4));

// Where values lie and how parts are padded is nothing to the arithmetic.
TEST(Zero, JoinedValuesGiveTheSameBits) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const int ranks : {2, 3, 4}) {
      for (const int stage : {1, 2, 3}) {
        SCOPED_TRACE(cat(ranks, " ranks, stage ", stage));
        SmallRun run{.dtype = dtype,
                     .zero_stage = stage,
                     .micro_batches = 2,
                     .recompute = stage == 3,
                     .steps = 3};
        const SmallResult copied = train(ranks, maker<SmallGpt2>(), run);
        run.join_values = true;
        const SmallResult joined = train(ranks, maker<SmallGpt2>(), run);
        EXPECT_EQ(joined.losses, copied.losses);
        expect_equal(joined.gradients, copied.gradients);
        expect_equal(joined.masters, copied.masters);
      }
    }
  }
}

// Every stage over ranks that share each layer too: heads cut evenly, the rest unevenly.
TEST(Zero, TensorParallelRanksEqualOneProcess) {
  const MakeModel gpt2 = [] {
    models::Gpt2Config c = SmallGpt2::config();
    c.n_embd = 48;
    c.n_head = 12;
    return std::make_unique<SmallGpt2>(c);
  };
  const MakeModel bert = [] {
    models::BertConfig c = testing::small_bert_config();
    c.hidden_size = 48;
    c.num_attention_heads = 12;
    return std::make_unique<SmallBertPreTraining>(false, c);
  };
  const SmallRun runs[] = {
      {.tp = 3},
      {.tp = 2, .sequence_parallel = true},
      {.zero_stage = 1, .tp = 2, .micro_batches = 2},
      {.zero_stage = 1, .join_values = true, .tp = 2},
      {.zero_stage = 2, .tp = 2, .sequence_parallel = true, .micro_batches = 2},
      {.zero_stage = 3, .tp = 2, .recompute = true},
      {.zero_stage = 3, .tp = 2, .sequence_parallel = true}};
  for (const MakeModel& make : {gpt2, bert}) {
    const SmallResult single = train(1, make, {});
    for (const SmallRun& run : runs) {
      SCOPED_TRACE(cat("tp ", run.tp, " stage ", run.zero_stage, run.sequence_parallel));
      const SmallResult many = train(run.tp == 3 ? 3 : 4, make, run);
      ASSERT_EQ(many.losses.size(), single.losses.size());
      EXPECT_NEAR(many.losses[0], single.losses[0], 1e-5);
      EXPECT_NEAR(many.losses[1], single.losses[1], 1e-4);
      EXPECT_NEAR(many.grad_norm, single.grad_norm, 1e-5 * single.grad_norm);
      expect_close(many.gradients, single.gradients, 1e-5);
      expect_close(many.masters, single.masters, 1e-5);
    }
  }
}

TEST(Zero, TrainsATiedHeadOfTwoOutputs) {
  const MakeModel make = maker<SmallBertPreTraining>();
  const SmallResult single = train(1, make, {});
  for (const int stage : {0, 1, 2, 3}) {
    SCOPED_TRACE(stage);
    const SmallResult two = train(2, make, {.zero_stage = stage, .recompute = stage == 3});
    EXPECT_NEAR(two.losses[1], single.losses[1], 1e-4);
    expect_close(two.gradients, single.gradients, 1e-5);
    expect_close(two.masters, single.masters, 1e-5);
  }
}

TEST(Zero, InitialValuesAreTheSameBitsInEveryLayout) {
  const SmallResult single = train(1, maker<SmallGpt2>(), {.steps = 0});
  for (const int ranks : {2, 3, 4}) {
    for (const int stage : {1, 3}) {
      expect_equal(train(ranks, maker<SmallGpt2>(), {.zero_stage = stage, .steps = 0}).masters,
                   single.masters);
    }
  }
}

TEST(Zero, RepeatsItselfBitForBit) {
  const SmallRun run{.dtype = at::kBFloat16, .zero_stage = 3, .micro_batches = 2};
  const SmallResult a = train(3, maker<SmallGpt2>(), run), b = train(3, maker<SmallGpt2>(), run);
  EXPECT_EQ(a.losses, b.losses);
  EXPECT_EQ(a.grad_norm, b.grad_norm);
  expect_equal(a.masters, b.masters);
}

// A model of which some Params are frozen: the word embeddings and all of layer 0.
std::unique_ptr<SmallModel> partly_frozen() {
  auto model = std::make_unique<SmallBert>();
  for (const nn::UnitParams& unit : model->units()) {
    for (nn::Param* param : unit.params) {
      const std::string& name = param->spec.name;
      param->spec.frozen = name.find("word_embeddings") != std::string::npos ||
                           name.find("layer.0.") != std::string::npos;
    }
  }
  return model;
}

TEST(Zero, FrozenParametersStayAndHaveNoGradient) {
  const SmallResult start = train(1, partly_frozen, {.steps = 0});
  const SmallResult single = train(1, partly_frozen, {});
  const SmallResult all_trained = train(1, maker<SmallBert>(), {});
  EXPECT_EQ(single.losses[0], all_trained.losses[0]);
  for (const int stage : {0, 1, 2, 3}) {
    SCOPED_TRACE(stage);
    const SmallResult two = train(2, partly_frozen, {.zero_stage = stage});
    EXPECT_LT(two.gradients.size(), two.masters.size());
    for (const auto& [name, tensor] : two.masters) {
      const bool frozen = !two.gradients.contains(name);
      EXPECT_EQ(frozen, name.find("word_embeddings") != std::string::npos ||
                            name.find("layer.0.") != std::string::npos);
      EXPECT_EQ(at::equal(tensor, start.masters.at(name)), frozen) << name;
    }
    expect_close(two.gradients, single.gradients, 1e-5);
    expect_close(two.masters, single.masters, 1e-5);
    for (const auto& [name, gradient] : single.gradients) {
      EXPECT_TRUE(at::equal(gradient, all_trained.gradients.at(name))) << name;
    }
  }
}

TEST(Zero, UnusedParametersAreNamedOrCountAsZero) {
  const MakeModel words_alone = [] { return std::make_unique<SmallBertPreTraining>(true); };
  for (const int stage : {0, 1, 2, 3}) {
    for (const bool recompute : {false, true}) {
      SCOPED_TRACE(cat("stage ", stage, " recompute ", recompute));
      try {
        train(2, words_alone, {.zero_stage = stage, .recompute = recompute});
        ADD_FAILURE() << "no error";
      } catch (const Error& error) {
        EXPECT_THAT(error.what(),
                    AllOf(HasSubstr("no gradient arrived for 4 parameter(s)"),
                          HasSubstr("cls.seq_relationship.weight"),
                          HasSubstr("bert.pooler.dense.bias"), Not(HasSubstr("cls.predictions"))));
      }
      const SmallResult two = train(
          2, words_alone, {.zero_stage = stage, .recompute = recompute, .unused = Unused::kZero});
      EXPECT_EQ(two.gradients.at("bert.pooler.dense.weight").abs().max().item<double>(), 0.0);
      EXPECT_GT(two.gradients.at("cls.predictions.bias").abs().max().item<double>(), 0.0);
    }
  }
}

TEST(Zero, Stage3OfAModuleWithoutUnitsSaysWhatToDo) {
  SmallGpt2 model;
  std::vector<nn::UnitParams> units = model.units();
  units[1].called_as_unit = false;
  const auto world = comm::World::single();
  EXPECT_NO_THROW(Engine(units, world->world_group(), {.zero_stage = 2}));
  try {
    const Engine engine(units, world->world_group(), {.zero_stage = 3});
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("unit h.0"), HasSubstr("nn::Unit<Block> block"),
                                    HasSubstr("parallel.zero = 2")));
  }
  EXPECT_THROW(Engine(model.units(), world->world_group(), {.zero_stage = 4}), Error);
}

TEST(Zero, Stage3OutsideItsUnitsHasNoValues) {
  const auto world = comm::World::single();
  SmallGpt2 model;
  Engine engine(model.units(), world->world_group(), {.zero_stage = 3});
  engine.init(7);
  const nn::Param& wte = *model.units()[0].params[0];
  EXPECT_FALSE(wte.value.defined());
  {
    const WholeValues whole(engine);
    EXPECT_EQ(wte.value.sizes(), (std::vector<int64_t>{67, 30}));
    EXPECT_TRUE(
        at::equal(wte.value.view({-1}), engine.flat_buffers()[0].master.narrow(0, 0, 67 * 30)));
  }
  EXPECT_FALSE(wte.value.defined());
}

}  // namespace
}  // namespace trireme::parallel
