#include "trireme/data/qa_decode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/data/fake_tokenizer.h"
#include "trireme/base/error.h"

namespace trireme::data {
namespace {

using testing::DoubleNear;
using testing::HasSubstr;

constexpr float kLow = -10;

// One question, its windows, and logits of kLow to raise some of.
struct Fixture {
  explicit Fixture(const std::string& context, const WindowOptions& options = {}) {
    example.id = "q";
    example.question = "w9";
    example.context = std::make_shared<const std::string>(context);
    windows = make_qa_windows(std::span(&example, 1), fake_tokenizer(), options);
    for (const QaWindow& window : windows) {
      start.emplace_back(window.length(), kLow);
      end.emplace_back(window.length(), kLow);
    }
  }
  QaPrediction decode(const DecodeOptions& options = {}) const {
    std::vector<WindowLogits> logits;
    for (size_t i = 0; i < windows.size(); ++i) logits.push_back({start[i], end[i]});
    return decode_answer(example, windows, logits, options);
  }

  QaExample example;
  std::vector<QaWindow> windows;
  std::vector<std::vector<float>> start, end;
};

// Tokens: [CLS] w9 [SEP] then the context's from 3 on.
TEST(QaDecode, BestSpanIsCutFromTheContext) {
  Fixture f("zwölf 🚀  große  Äpfel.");
  f.start[0][6] = 5;
  f.end[0][7] = 4;
  const QaPrediction got = f.decode();
  EXPECT_EQ(got.text, "große  Äpfel.");
  EXPECT_EQ(got.best_text, got.text);
  EXPECT_EQ(got.n_best[0].span, (TextSpan{9, 22}));
  EXPECT_DOUBLE_EQ(got.n_best[0].score, 9);
  EXPECT_DOUBLE_EQ(got.null_score, -20);
  EXPECT_DOUBLE_EQ(got.null_odds, -29);
}

TEST(QaDecode, ThresholdChoosesBetweenNullAndSpan) {
  Fixture f("aa bb");
  f.start[0][0] = 3;
  f.end[0][0] = 3;
  f.start[0][3] = 2;
  f.end[0][3] = 2;
  EXPECT_EQ(f.decode().text, "");
  EXPECT_EQ(f.decode().best_text, "aa");
  EXPECT_DOUBLE_EQ(f.decode().null_odds, 2);
  EXPECT_EQ(f.decode({.no_answer_threshold = 2}).text, "aa");  // greater, not equal
  EXPECT_EQ(f.decode({.no_answer_threshold = 1.9}).text, "");
  EXPECT_EQ(f.decode({.may_abstain = false}).text, "aa");
}

TEST(QaDecode, SpansMayNotRunBackwardsLeaveTheContextOrBeTooLong) {
  Fixture f("aa bb cc dd");
  f.start[0][6] = 9;  // dd
  f.end[0][3] = 9;    // aa: backwards from dd
  f.start[0][1] = 8;  // in the question
  f.end[0][7] = 8;    // the last [SEP]
  f.start[0][4] = 1;
  f.end[0][5] = 1;
  EXPECT_EQ(f.decode().text, "bb cc");
  EXPECT_DOUBLE_EQ(f.decode().n_best[0].score, 2);
}

TEST(QaDecode, LengthLimitCountsTokens) {
  Fixture f("aa bb cc dd");
  f.start[0][3] = 9;
  f.end[0][6] = 9;
  f.end[0][4] = 5;
  EXPECT_EQ(f.decode({.max_answer_tokens = 4}).text, "aa bb cc dd");
  EXPECT_EQ(f.decode({.max_answer_tokens = 3}).text, "aa bb");
}

TEST(QaDecode, OnlyTheHighestLogitsAreCombined) {
  Fixture f("aa bb cc");
  f.start[0][0] = f.end[0][0] = 5;
  f.start[0][3] = 4;
  f.end[0][3] = 4;
  const QaPrediction none = f.decode({.n_best = 1});  // [CLS] takes the only place
  EXPECT_TRUE(none.n_best.empty());
  EXPECT_EQ(none.text, "");
  EXPECT_EQ(none.null_odds, std::numeric_limits<double>::infinity());
  EXPECT_DOUBLE_EQ(none.null_probability, 1);
  EXPECT_EQ(f.decode({.n_best = 2}).best_text, "aa");
  EXPECT_EQ(f.decode({.n_best = 2}).n_best.size(), 1U);
}

TEST(QaDecode, WindowsAreMergedTheNullScoreIsTheLowest) {
  Fixture f("w0 w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11", {.max_length = 10, .doc_stride = 2});
  ASSERT_EQ(f.windows.size(), 3U);
  f.start[0][0] = 1, f.end[0][0] = 1;
  f.start[1][0] = -4, f.end[1][0] = -3;
  f.start[2][0] = 2, f.end[2][0] = 2;
  // w4 stands in the first window (token 7) and in the second (token 3): the higher score counts.
  f.start[0][7] = 1, f.end[0][7] = 1;
  f.start[1][3] = 2, f.end[1][3] = 3;
  f.start[2][6] = 1, f.end[2][6] = 2;  // w11
  const QaPrediction got = f.decode();
  EXPECT_DOUBLE_EQ(got.null_score, -7);
  EXPECT_EQ(got.text, "w4");
  EXPECT_DOUBLE_EQ(got.n_best[0].score, 5);
  EXPECT_EQ(got.n_best[1].text, "w11");
  for (size_t i = 1; i < got.n_best.size(); ++i) {
    EXPECT_GE(got.n_best[i - 1].score, got.n_best[i].score);
    EXPECT_FALSE(got.n_best[i].span == got.n_best[0].span);
  }
  EXPECT_EQ(got.n_best.size(), 20U);
}

TEST(QaDecode, ProbabilitiesAreASoftmaxWithNull) {
  Fixture f("aa");
  f.start[0][3] = 1.5F;
  f.end[0][3] = 0.5F;
  f.start[0][0] = 1;
  f.end[0][0] = 0;
  const QaPrediction got = f.decode();
  const double e2 = std::exp(2.0), e1 = std::exp(1.0);
  EXPECT_THAT(got.n_best[0].probability, DoubleNear(e2 / (e1 + e2), 1e-12));
  EXPECT_THAT(got.null_probability, DoubleNear(e1 / (e1 + e2), 1e-12));
  const QaPrediction sure = f.decode({.may_abstain = false});
  EXPECT_DOUBLE_EQ(sure.n_best[0].probability, 1);
  EXPECT_DOUBLE_EQ(sure.null_probability, 0);
}

TEST(QaDecode, HugeLogitsDoNotOverflow) {
  Fixture f("aa bb");
  f.start[0][3] = f.end[0][3] = 3e38F;
  const QaPrediction got = f.decode();
  EXPECT_DOUBLE_EQ(got.n_best[0].probability, 1);
  EXPECT_EQ(got.text, "aa");
}

TEST(QaDecode, EmptyContextHasNoAnswer) {
  const QaPrediction got = Fixture("").decode({.may_abstain = false});
  EXPECT_EQ(got.text, "");
  EXPECT_TRUE(got.n_best.empty());
}

TEST(QaDecode, BrokenLogitsAreNamed) {
  const auto message = [](const Fixture& f) {
    try {
      f.decode();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kRun);
      return std::string(e.what());
    }
    return std::string("no error");
  };
  Fixture nan("aa bb");
  nan.end[0][4] = std::nanf("");
  EXPECT_THAT(message(nan), HasSubstr("question 'q'"));
  Fixture infinite("aa bb");
  infinite.start[0][0] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(message(infinite), HasSubstr("NaN or infinity"));
  Fixture cut("aa bb");
  cut.start[0].pop_back();
  EXPECT_THAT(message(cut), HasSubstr("a window of 6 tokens has 5 start and 6 end logits"));
}

TEST(QaDecode, AllExamplesFindTheirWindows) {
  std::vector<QaExample> examples(3);
  for (int i = 0; i < 3; ++i) {
    examples[i].id = std::string(1, static_cast<char>('a' + i));
    examples[i].question = "w1";
    examples[i].context = std::make_shared<const std::string>(
        i == 1 ? "w0 w1 w2 w3 w4 w5 w6 w7 w8 w9" : "w" + std::to_string(i));
  }
  const auto windows =
      make_qa_windows(examples, fake_tokenizer(), {.max_length = 10, .doc_stride = 2});
  ASSERT_EQ(windows.size(), 4U);
  std::vector<std::vector<float>> start, end;
  for (const QaWindow& window : windows) {
    start.emplace_back(window.length(), kLow);
    end.emplace_back(window.length(), kLow);
  }
  for (size_t i = 0; i < windows.size(); ++i) start[i][3] = end[i][3] = static_cast<float>(i);
  std::vector<WindowLogits> logits;
  for (size_t i = 0; i < windows.size(); ++i) logits.push_back({start[i], end[i]});
  const auto got = decode_answers(examples, windows, logits, {});
  ASSERT_EQ(got.size(), 3U);
  EXPECT_EQ(got[0].text, "w0");
  EXPECT_EQ(got[1].text, "w4");
  EXPECT_EQ(got[2].text, "w2");
  EXPECT_EQ(got[2].id, "c");
  EXPECT_THROW(decode_answers(examples, windows, std::span(logits).first(3), {}), Error);
  EXPECT_THROW(
      decode_answers(examples, std::span(windows).first(3), std::span(logits).first(3), {}), Error);
}

}  // namespace
}  // namespace trireme::data
