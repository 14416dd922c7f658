// Generation with its cache against the whole sequence run anew for each token.
#include "trireme/tasks/lm_generate.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/tasks/tiny_lm.h"
#include "trireme/data/packed_batch.h"

namespace trireme::tasks {
namespace {

using ::testing::HasSubstr;
using trireme::testing::TinyLm;

// Logits of the token behind `ids`, without a cache: the oracle.
at::Tensor whole_forward(LmModel& model, const std::vector<int32_t>& ids) {
  const at::NoGradGuard no_grad;
  const std::vector<data::PackSample> samples = {{.ids = ids}};
  const data::PackedBatch batch = data::pack(samples, {.token_types = false});
  nn::Context context;
  return model.forward(batch, context)[static_cast<int64_t>(ids.size()) - 1].to(at::kFloat);
}

class Generate : public ::testing::TestWithParam<const char*> {};

TEST_P(Generate, GreedyIsTheArgmaxOfTheWholeForward) {
  TinyLm tiny(GetParam());
  std::vector<int32_t> ids = {3, 1, 4, 1, 5};
  const auto samples = generate(tiny.model(), ids, {.max_new_tokens = 20});
  ASSERT_EQ(samples.size(), 1u);
  EXPECT_EQ(samples[0].tokens.size(), 20u);
  EXPECT_EQ(samples[0].stop, StopReason::kMaxNewTokens);
  for (const int32_t token : samples[0].tokens) {
    const at::Tensor logits = whole_forward(tiny.model(), ids);
    EXPECT_EQ(token, logits.argmax().item<int64_t>()) << "behind " << ids.size() << " tokens";
    ids.push_back(token);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, Generate,
                         ::testing::Values("tied", "untied", "one-head", "odd-sizes"));

TEST(GenerateSamples, SeedsDecideAndSamplesDiffer) {
  TinyLm tiny;
  const std::vector<int32_t> prompt = {3, 1, 4};
  GenerateOptions options;
  options.max_new_tokens = 8;
  options.num_samples = 3;
  options.sampling = {.do_sample = true, .top_k = 0, .seed = 7};
  const auto first = generate(tiny.model(), prompt, options);
  const auto again = generate(tiny.model(), prompt, options);
  ASSERT_EQ(first.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(first[i].tokens, again[i].tokens);
  EXPECT_NE(first[0].tokens, first[1].tokens);
  options.sampling.seed = 8;
  EXPECT_NE(generate(tiny.model(), prompt, options)[0].tokens, first[0].tokens);
  // One sample is the first of several.
  options.sampling.seed = 7;
  options.num_samples = 1;
  EXPECT_EQ(generate(tiny.model(), prompt, options)[0].tokens, first[0].tokens);
}

TEST(GenerateSamples, StopsWhereThePositionsEnd) {
  TinyLm tiny;
  const int64_t positions = tiny.model().config().n_positions;
  std::vector<int32_t> prompt(static_cast<size_t>(positions - 2), 1);
  int64_t heard = 0;
  GenerateOptions options;
  options.on_token = [&heard](int64_t, std::span<const int32_t> tokens) {
    heard = static_cast<int64_t>(tokens.size());
  };
  const auto samples = generate(tiny.model(), prompt, options);
  EXPECT_EQ(samples[0].stop, StopReason::kPositions);
  EXPECT_EQ(samples[0].tokens.size(), 3u);  // the last one needs no position of its own
  EXPECT_EQ(heard, 3);
  prompt.resize(static_cast<size_t>(positions), 1);
  EXPECT_THAT(test::input_error_of([&] { generate(tiny.model(), prompt, options); }),
              HasSubstr(cat("has ", positions, " positions")));
  EXPECT_THAT(test::input_error_of([&] { generate(tiny.model(), {}, options); }),
              HasSubstr("no tokens"));
}

TEST(GenerateSamples, StopsBehindTheEndOfText) {
  const std::vector<int32_t> prompt = {3, 1, 4, 1, 5};
  TinyLm endless("untied");
  const auto whole = generate(endless.model(), prompt, {.max_new_tokens = 12});
  const std::vector<int32_t>& tokens = whole[0].tokens;
  TinyLm ending("untied", tokens[5]);
  const auto end = std::find(tokens.begin(), tokens.end(), tokens[5]) + 1;
  const auto cut = generate(ending.model(), prompt, {.max_new_tokens = 12});
  EXPECT_EQ(cut[0].tokens, std::vector<int32_t>(tokens.begin(), end));
  EXPECT_EQ(cut[0].stop, StopReason::kEndOfText);
}

// Frequencies over many draws against the probabilities by hand.
TEST(ChooseToken, TemperatureTopKAndTopP) {
  const std::vector<float> logits = {1.0f, 3.0f, 2.0f, -1.0f, 2.0f};
  const auto frequencies = [&](const SamplingOptions& options) {
    std::vector<double> out(logits.size());
    constexpr int kDraws = 20000;
    for (uint64_t draw = 0; draw < kDraws; ++draw)
      out[static_cast<size_t>(choose_token(logits, options, draw))] += 1.0 / kDraws;
    return out;
  };
  const auto expect = [&](const SamplingOptions& options, std::vector<double> weights) {
    double total = 0;
    for (const double w : weights) total += w;
    const std::vector<double> found = frequencies(options);
    for (size_t i = 0; i < weights.size(); ++i) EXPECT_NEAR(found[i], weights[i] / total, 0.015);
  };
  EXPECT_EQ(choose_token(logits, {}, 5), 1);
  const auto e = [](double x) { return std::exp(x); };
  expect({.do_sample = true, .top_k = 0}, {e(1), e(3), e(2), e(-1), e(2)});
  expect({.do_sample = true, .temperature = 2, .top_k = 0}, {e(0.5), e(1.5), e(1), e(-0.5), e(1)});
  // Of two equal logits the lower id comes first.
  expect({.do_sample = true, .top_k = 2}, {0, e(3), e(2), 0, 0});
  // e^3 is 0.529 of the whole, with one e^2 it is 0.724.
  expect({.do_sample = true, .top_k = 0, .top_p = 0.5}, {0, 1, 0, 0, 0});
  expect({.do_sample = true, .top_k = 0, .top_p = 0.6}, {0, e(3), e(2), 0, 0});
}

}  // namespace
}  // namespace trireme::tasks
