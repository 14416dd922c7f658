// Context parallel against one process that holds the whole batch: the loss and all gradients,
// summed over the ranks (contract: for each tensor ||g - g'|| <= 1e-5 ||g'|| + 1e-7 ||all|| in
// fp32; 2e-2 in bf16).
#include "trireme/nn/context_parallel.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <mutex>

#include "trireme/base/error.h"
#include "trireme/comm/mesh.h"
#include "trireme/comm/testing.h"
#include "trireme/models/bert.h"
#include "trireme/models/gpt2.h"
#include "trireme/nn/loss.h"
#include "trireme/nn/tensor_parallel.h"

namespace trireme::models {
namespace {

using nn::CpMethod;

constexpr int64_t kVocabulary = 53;
// Of the batch: cut over 2, 3 and 4 ranks or not, none a multiple of twice that; two of one sample.
const std::vector<int32_t> kLengths = {75, 3, 29, 1, 41, 7, 5, 14};
const std::vector<int32_t> kSamples = {4, 0, 1, 1, 2, 5, 3, 6};

data::PackedBatch whole_batch(const std::vector<int32_t>& lengths) {
  std::vector<std::vector<int32_t>> ids;
  std::vector<std::vector<int64_t>> next;
  for (size_t b = 0; b < lengths.size(); ++b) {
    ids.emplace_back();
    for (int32_t i = 0; i <= lengths[b]; ++i)
      ids.back().push_back(static_cast<int32_t>((b * 17 + 7 * i + i * i) % kVocabulary));
    next.emplace_back(ids.back().begin() + 1, ids.back().end());
    if (b % 2 == 0) next.back().back() = -1;
    ids.back().pop_back();
  }
  std::vector<data::PackSample> samples;
  std::vector<int64_t> starts, ends;
  for (size_t b = 0; b < lengths.size(); ++b) {
    samples.push_back({.ids = ids[b], .ordinal = kSamples[b], .second_segment = lengths[b] / 2});
    starts.push_back(lengths[b] / 3);
    ends.push_back(lengths[b] - 1);
  }
  data::PackedBatch batch = data::pack(samples, {});
  batch.labels["next"] = data::pack_rows(batch, next, -1);
  batch.labels["start"] = at::tensor(starts, at::kLong);
  batch.labels["end"] = at::tensor(ends, at::kLong);
  batch.labels["class"] = at::arange(batch.sequences(), at::kLong) % 3;
  return batch;
}

// A model with the loss of a batch: of all of it, or of a rank's rows.
struct Learner {
  virtual ~Learner() = default;
  virtual std::vector<nn::UnitParams> units() = 0;
  virtual at::Tensor loss(const data::PackedBatch& batch, nn::Context& context) = 0;
};

struct Gpt2Learner : Learner {
  static Gpt2Config config() {
    Gpt2Config c;
    c.vocab_size = kVocabulary;
    c.n_positions = 80;
    c.n_embd = 48;
    c.n_layer = 2;
    c.n_head = 12;
    c.n_inner = 60;
    c.initializer_range = 0.1;
    return c;
  }
  std::vector<nn::UnitParams> units() override { return model.units(); }
  at::Tensor loss(const data::PackedBatch& batch, nn::Context& context) override {
    context.labels = batch.labels.at("next");
    context.label_count = 100;
    return model.forward(context);
  }
  Gpt2LmHeadModel model{config()};
};

BertConfig bert_config() {
  BertConfig c;
  c.vocab_size = kVocabulary;
  c.hidden_size = 48;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 12;
  c.intermediate_size = 60;
  c.max_position_embeddings = 80;
  c.initializer_range = 0.1;
  c.num_labels = 3;
  return c;
}

struct QaLearner : Learner {
  std::vector<nn::UnitParams> units() override { return model.units(); }
  at::Tensor loss(const data::PackedBatch& batch, nn::Context& context) override {
    const at::Tensor logits = model.forward(context);
    const at::Tensor &starts = batch.labels.at("start"), &ends = batch.labels.at("end");
    if (context.cp == nullptr) return nn::span_loss(logits, starts, ends, batch.seq, 9);
    return nn::counted_once(nn::span_loss(nn::gather_sequences(logits, context.cp), starts, ends,
                                          context.cp->shard().whole_seq, 9),
                            context.cp);
  }
  BertForQuestionAnswering model{bert_config()};
};

// The head reads first rows, of the rank that has them.
struct ClassifyLearner : Learner {
  std::vector<nn::UnitParams> units() override { return model.units(); }
  at::Tensor loss(const data::PackedBatch& batch, nn::Context& context) override {
    at::Tensor labels = batch.labels.at("class");
    if (context.cp != nullptr) labels = labels.index_select(0, context.cp->shard().first_sequences);
    return nn::cross_entropy(model.forward(context), labels, 9);
  }
  BertForSequenceClassification model{bert_config()};
};

using MakeLearner = std::function<std::unique_ptr<Learner>()>;

template <class L>
MakeLearner maker() {
  return [] { return std::make_unique<L>(); };
}

struct RunOptions {
  at::ScalarType dtype = at::kFloat;
  bool recompute = false;
  bool rounded_weights = false;  // to bf16, whatever the dtype
  std::vector<int32_t> lengths = kLengths;
};

struct Result {
  double loss = 0;
  std::map<std::string, at::Tensor> gradients;  // by part
  std::map<std::string, nn::TensorCut> cuts;    // which elements of the whole they are
};

// Who shares what.
struct Ranks {
  comm::Group& cp;
  CpMethod method;
  const nn::TensorParallel* tp = nullptr;
};

void fill(Learner& learner, const RunOptions& run, nn::TpSlice slice) {
  nn::allocate_values(learner.units(), run.dtype, slice);
  nn::allocate_grads(learner.units());
  for (nn::Param* param : nn::params_once(learner.units())) {
    at::Tensor master = at::empty(param->value.sizes(), at::kFloat);
    nn::init_param(*param, 11, master);
    param->value.copy_(run.rounded_weights ? master.to(at::kBFloat16) : master);
  }
}

// Forward and backward; gradients are left in the learner.
double step(Learner& learner, const data::PackedBatch& batch, const RunOptions& run,
            nn::ContextParallelPtr cp, const nn::TensorParallel* tp) {
  nn::Context context;
  context.tokens = batch.tokens;
  context.positions = batch.positions;
  context.token_types = batch.token_types;
  context.seq = &batch.seq;
  context.dropout = batch.dropout_key(3, 5);
  context.training = true;
  context.recompute = run.recompute;
  context.cp = std::move(cp);
  context.tp = tp;
  const at::Tensor loss = learner.loss(batch, context);
  context.cp = nullptr;  // the graph keeps it
  loss.backward();
  return loss.item<double>();
}

void take_gradients(Learner& learner, Result& result) {
  for (const nn::Param* param : nn::params_once(learner.units())) {
    for (const nn::PartView& part : nn::part_views(*param, param->main_grad)) {
      result.gradients[part.part->name] = part.view;
      result.cuts[part.part->name] = part.cut;
    }
  }
}

Result single_process(const MakeLearner& make, const RunOptions& run) {
  Result result;
  const auto learner = make();
  fill(*learner, run, {});
  result.loss = step(*learner, whole_batch(run.lengths), run, nullptr, nullptr);
  take_gradients(*learner, result);
  return result;
}

Result parallel(const Ranks& ranks, const MakeLearner& make, const RunOptions& run) {
  comm::Group& group = ranks.cp;
  const nn::TensorParallel* tp = ranks.tp;
  Result result;
  const auto learner = make();
  fill(*learner, run, tp != nullptr ? tp->slice() : nn::TpSlice{});
  const auto cp = std::make_shared<const nn::ContextParallel>(
      group, ranks.method, data::cp_shard(whole_batch(run.lengths), group.rank(), group.size()));
  const at::Tensor loss = at::tensor(step(*learner, cp->shard().batch, run, cp, tp), at::kDouble);
  group.all_reduce(loss, comm::ReduceOp::kSum, "loss")->wait();
  result.loss = loss.item<double>();
  for (nn::Param* param : nn::params_once(learner->units())) {
    group.all_reduce(param->main_grad, comm::ReduceOp::kSum, "gradient")->wait();
    if (tp != nullptr && tp->sequence && param->spec.tp == nn::TpKind::kReplicatedPartialGrad)
      tp->group.all_reduce(param->main_grad, comm::ReduceOp::kSum, "partial gradient")->wait();
  }
  take_gradients(*learner, result);
  return result;
}

Result parallel(comm::World& world, const MakeLearner& make, CpMethod method,
                const RunOptions& run) {
  return parallel({world.world_group(), method}, make, run);
}

// || gradients - expected || / || expected ||, over all of them.
double distance(const Result& got, const Result& expected) {
  double squares = 0, differences = 0;
  for (const auto& [name, gradient] : expected.gradients) {
    squares += gradient.square().sum().item<double>();
    differences += (got.gradients.at(name) - gradient).square().sum().item<double>();
  }
  return std::sqrt(differences / squares);
}

void expect_close(const Result& got, const Result& want, at::ScalarType dtype) {
  const bool exact = dtype == at::kFloat;
  const double bound = exact ? 1e-5 : 2e-2;
  EXPECT_NEAR(got.loss, want.loss, (exact ? 1e-5 : 2e-3) * std::max(1.0, std::abs(want.loss)));
  double all = 0;
  for (const auto& [name, gradient] : want.gradients) all += gradient.square().sum().item<double>();
  all = std::sqrt(all);
  EXPECT_EQ(got.gradients.size(), want.gradients.size());
  for (const auto& [name, whole] : want.gradients) {
    const nn::TensorCut& cut = got.cuts.at(name);
    const at::Tensor expected = at::empty(cut.local_shape(), at::kFloat);
    cut.copy_from(expected, whole);
    const double error = (got.gradients.at(name) - expected).norm().item<double>();
    EXPECT_LE(error, bound * expected.norm().item<double>() + 1e-2 * bound * all) << name;
  }
}

std::string method_name(CpMethod method) {
  return method == CpMethod::kRing ? "ring" : "ulysses";
}

struct Case {
  const char* model;
  MakeLearner make;
};

class ContextParallelTest : public ::testing::TestWithParam<int> {};

TEST_P(ContextParallelTest, EqualsOneProcess) {
  const int ranks = GetParam();
  const std::vector<Case> models = {{"GPT-2", maker<Gpt2Learner>()},
                                    {"BERT for questions", maker<QaLearner>()},
                                    {"BERT classifier", maker<ClassifyLearner>()}};
  std::vector<RunOptions> runs(3);
  runs[1].dtype = at::kBFloat16;
  runs[2].recompute = true;
  std::map<std::pair<size_t, size_t>, Result> expected;
  for (size_t m = 0; m < models.size(); ++m) {
    for (size_t r = 0; r < runs.size(); ++r)
      expected[{m, r}] = single_process(models[m].make, runs[r]);
  }
  std::mutex mutex;
  comm::run_ranks(ranks, [&](comm::World& world) {
    for (const auto& [which, want] : expected) {
      for (const CpMethod method : {CpMethod::kRing, CpMethod::kUlysses}) {
        const Case& model = models[which.first];
        const RunOptions& run = runs[which.second];
        const Result got = parallel(world, model.make, method, run);
        const std::lock_guard lock(mutex);
        SCOPED_TRACE(testing::Message()
                     << model.model << ", " << method_name(method) << ", rank " << world.rank()
                     << " of " << ranks << ", " << at::toString(run.dtype)
                     << (run.recompute ? ", recomputing" : ""));
        expect_close(got, want, run.dtype);
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Ranks, ContextParallelTest, testing::Values(1, 2, 3, 4));

// Each rank of a pair has a share of the heads, and with `sequence` of a context-parallel rank's
// rows, too.
TEST(ContextParallel, WithTensorParallel) {
  const RunOptions run;
  for (const MakeLearner& make :
       {maker<Gpt2Learner>(), maker<QaLearner>(), maker<ClassifyLearner>()}) {
    const Result want = single_process(make, run);
    std::mutex mutex;
    comm::run_ranks(4, [&](comm::World& world) {
      comm::MeshGroups groups(world, comm::Mesh({.cp = 2, .tp = 2}));
      comm::Group &cp = groups.along({comm::Axis::kCp}), &tp = groups.along({comm::Axis::kTp});
      for (const bool sequence : {false, true}) {
        for (const CpMethod method : {CpMethod::kRing, CpMethod::kUlysses}) {
          const nn::TensorParallel tensor_parallel{tp, sequence};
          const Result got = parallel({cp, method, &tensor_parallel}, make, run);
          const std::lock_guard lock(mutex);
          SCOPED_TRACE(testing::Message() << method_name(method) << (sequence ? ", sequence" : ""));
          expect_close(got, want, run.dtype);
        }
      }
    });
  }
}

// Batches with nothing to share, with nothing on some ranks, and with nothing at all.
TEST(ContextParallel, BatchesOfShortSequences) {
  for (const std::vector<int32_t>& lengths :
       {std::vector<int32_t>{5, 3, 1}, std::vector<int32_t>{2}, std::vector<int32_t>{}}) {
    RunOptions run;
    run.lengths = lengths;
    const Result want = single_process(maker<Gpt2Learner>(), run);
    std::mutex mutex;
    comm::run_ranks(3, [&](comm::World& world) {
      for (const CpMethod method : {CpMethod::kRing, CpMethod::kUlysses}) {
        const Result got = parallel(world, maker<Gpt2Learner>(), method, run);
        const std::lock_guard lock(mutex);
        SCOPED_TRACE(testing::Message() << lengths.size() << " sequences, " << method_name(method));
        expect_close(got, want, run.dtype);
      }
    });
  }
}

// TCP moves whole messages: nothing here may rest on shared memory.
TEST(ContextParallel, OverGloo) {
  const Result want = single_process(maker<Gpt2Learner>(), RunOptions{});
  comm::WorldOptions options;
  options.backend = "gloo";
  std::mutex mutex;
  comm::run_ranks(
      3,
      [&](comm::World& world) {
        for (const CpMethod method : {CpMethod::kRing, CpMethod::kUlysses}) {
          const Result got = parallel(world, maker<Gpt2Learner>(), method, RunOptions{});
          const std::lock_guard lock(mutex);
          SCOPED_TRACE(method_name(method));
          expect_close(got, want, at::kFloat);
        }
      },
      options);
}

// In bf16 the ring's partial results cost no accuracy: its gradients are as near to those of exact
// arithmetic (fp32 with the same, rounded weights) as one process's.
TEST(ContextParallel, RingInBf16IsAsExactAsOneProcess) {
  for (const MakeLearner& make : {maker<Gpt2Learner>(), maker<QaLearner>()}) {
    const Result exact = single_process(make, {.rounded_weights = true});
    const Result one = single_process(make, {.dtype = at::kBFloat16});
    comm::run_ranks(4, [&](comm::World& world) {
      const Result ring = parallel(world, make, CpMethod::kRing, {.dtype = at::kBFloat16});
      if (world.rank() != 0) return;
      EXPECT_LE(distance(ring, exact), 1.2 * distance(one, exact));
      EXPECT_LE(distance(one, exact), 0.03);
    });
  }
}

// The same layout gives the same bits.
TEST(ContextParallel, IsDeterministic) {
  for (const CpMethod method : {CpMethod::kRing, CpMethod::kUlysses}) {
    std::vector<Result> results(2);
    for (Result& result : results) {
      comm::run_ranks(3, [&](comm::World& world) {
        Result mine = parallel(world, maker<QaLearner>(), method, RunOptions{});
        if (world.rank() == 0) result = std::move(mine);
      });
    }
    EXPECT_EQ(results[0].loss, results[1].loss);
    for (const auto& [name, gradient] : results[0].gradients)
      EXPECT_TRUE(at::equal(gradient, results[1].gradients.at(name))) << name;
  }
}

TEST(ContextParallel, RefusesWhatItCannotCut) {
  nn::check_ulysses_heads(12, 4);
  try {
    nn::check_ulysses_heads(12, 5);
    FAIL() << "12 heads over 5";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInput);
    EXPECT_THAT(e.what(), ::testing::HasSubstr("set parallel.cp to one of 1, 2, 3, 4, 6, 12 or "
                                               "parallel.cp_method to \"ring\""));
  }
  comm::run_ranks(2, [](comm::World& world) {
    EXPECT_THROW(nn::ContextParallel(world.world_group(), CpMethod::kRing,
                                     data::cp_shard(whole_batch(kLengths), 0, 3)),
                 Error);
  });
}

}  // namespace
}  // namespace trireme::models
