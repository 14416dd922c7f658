#include "trireme/data/qa_windows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/fake_tokenizer.h"
#include "trireme/base/error.h"

namespace trireme::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// "w0 w1 ... w(n-1)": token i stands at a known place.
std::string words(int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += (i > 0 ? " w" : "w") + std::to_string(i);
  return out;
}

QaExample example(const std::string& question, const std::string& context,
                  const std::string& answer = "") {
  QaExample out;
  out.id = "id-1";
  out.question = question;
  out.context = std::make_shared<const std::string>(context);
  if (!answer.empty()) {
    out.answers.push_back(
        {answer, static_cast<int64_t>(decode_utf8(context).find(decode_utf8(answer)))});
  }
  return out;
}

std::vector<QaWindow> windows_of(const QaExample& one, const WindowOptions& options) {
  return make_qa_windows(std::span(&one, 1), fake_tokenizer(), options);
}

TEST(QaWindows, ShortContextIsOneWindow) {
  const auto got = windows_of(example("w7 w8", words(3), "w1"), {});
  ASSERT_EQ(got.size(), 1U);
  EXPECT_THAT(got[0].ids, ElementsAre(1, 1007, 1008, 2, 1000, 1001, 1002, 2));
  EXPECT_EQ(got[0].context_begin, 4);
  EXPECT_EQ(got[0].context_tokens(), 3);
  EXPECT_EQ(got[0].start, 5);
  EXPECT_EQ(got[0].end, 5);
  EXPECT_EQ(got[0].offset(4), (TextSpan{0, 2}));
  EXPECT_EQ(got[0].offset(6), (TextSpan{6, 8}));
  EXPECT_FALSE(got[0].is_context(3));
  EXPECT_TRUE(got[0].is_context(4));
  EXPECT_TRUE(got[0].is_context(6));
  EXPECT_FALSE(got[0].is_context(7));
}

TEST(QaWindows, LongContextIsCutWithStride) {
  // Room for 10 - 3 - 1 = 6 context tokens, 2 of them shared: windows begin 4 apart.
  const auto got =
      windows_of(example("w99", words(12), "w5 w6"), {.max_length = 10, .doc_stride = 2});
  ASSERT_EQ(got.size(), 3U);
  EXPECT_THAT(got[0].ids, ElementsAre(1, 1099, 2, 1000, 1001, 1002, 1003, 1004, 1005, 2));
  EXPECT_THAT(got[1].ids, ElementsAre(1, 1099, 2, 1004, 1005, 1006, 1007, 1008, 1009, 2));
  EXPECT_THAT(got[2].ids, ElementsAre(1, 1099, 2, 1008, 1009, 1010, 1011, 2));
  EXPECT_EQ(got[1].offset(3), (TextSpan{12, 14}));
  // The answer is whole in the second window only.
  EXPECT_EQ(got[0].start, 0);
  EXPECT_EQ(got[0].end, 0);
  EXPECT_EQ(got[1].start, 4);
  EXPECT_EQ(got[1].end, 5);
  EXPECT_EQ(got[2].start, 0);
}

TEST(QaWindows, LastWindowEndsWithTheContext) {
  // 6 + 4: the second window is full exactly at the end; no third follows.
  EXPECT_EQ(windows_of(example("w9", words(10)), {.max_length = 10, .doc_stride = 2}).size(), 2U);
  EXPECT_EQ(windows_of(example("w9", words(11)), {.max_length = 10, .doc_stride = 2}).size(), 3U);
  EXPECT_EQ(windows_of(example("w9", words(6)), {.max_length = 10, .doc_stride = 2}).size(), 1U);
  EXPECT_EQ(windows_of(example("w9", words(7)), {.max_length = 10, .doc_stride = 2}).size(), 2U);
}

TEST(QaWindows, CountedBeforeTheyAreMade) {
  for (const int stride : {0, 1, 2, 5}) {
    for (int context = 0; context < 40; ++context) {
      const QaExample one = example("w9", words(context));
      const WindowOptions options{.max_length = 10, .doc_stride = stride};
      const auto made = windows_of(one, options);
      EXPECT_EQ(static_cast<int64_t>(made.size()), count_windows(context, 6, stride));
      EXPECT_EQ(made.back().first_context_token + made.back().context_tokens(), context);
    }
  }
  EXPECT_EQ(count_windows(262'144, 129, 128), 262'016);
}

TEST(QaWindows, MoreThanTheLimitAreRefused) {
  const QaExample one = example("w9", words(14));  // 6 + 4 + 4
  EXPECT_EQ(windows_of(one, {.max_length = 10, .doc_stride = 2, .max_windows = 3}).size(), 3U);
  try {
    windows_of(one, {.max_length = 10, .doc_stride = 2, .max_windows = 2});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInput);
    EXPECT_THAT(e.what(), HasSubstr("question 'id-1' has 1 tokens and its context 14"));
    EXPECT_THAT(e.what(), HasSubstr("makes 3 windows of 10 tokens, and 2 are the limit"));
  }
}

TEST(QaWindows, AnswersInsideWordsTakeTheWholeToken) {
  const auto got = windows_of(example("w9", "alpha beta-gamma delta", "gamma"), {});
  EXPECT_EQ(got[0].start, 4);
  EXPECT_EQ(got[0].end, 4);
  EXPECT_EQ(got[0].offset(4), (TextSpan{6, 16}));
}

TEST(QaWindows, OffsetsAreCodePointsAndSharedOnesKeepTheOrder) {
  const auto got = windows_of(example("w9", "äö 𐐀 ü", "𐐀"), {});
  ASSERT_EQ(got[0].context_tokens(), 4);
  EXPECT_EQ(got[0].offset(4), (TextSpan{3, 4}));
  EXPECT_EQ(got[0].offset(5), (TextSpan{3, 4}));
  EXPECT_EQ(got[0].offset(6), (TextSpan{5, 6}));
  EXPECT_EQ(got[0].start, 4);  // both tokens of the character
  EXPECT_EQ(got[0].end, 5);
}

TEST(QaWindows, QuestionsWithoutAnswerAndEmptyContextsPointAtCls) {
  EXPECT_EQ(windows_of(example("w1", words(5)), {})[0].end, 0);
  const auto empty = windows_of(example("w1", ""), {});
  ASSERT_EQ(empty.size(), 1U);
  EXPECT_THAT(empty[0].ids, ElementsAre(1, 1001, 2, 2));
  EXPECT_EQ(empty[0].context_tokens(), 0);
}

TEST(QaWindows, TooLongQuestionIsNamedWithTheLimits) {
  const auto message = [](int question, int context) {
    try {
      windows_of(example(words(question), words(context)), {.max_length = 20, .doc_stride = 5});
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInput);
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_EQ(message(11, 100), "no error");  // 6 tokens of context, 5 of them shared
  EXPECT_EQ(message(12, 5), "no error");    // all fits
  const std::string said = message(12, 6);
  EXPECT_THAT(said, HasSubstr("question 'id-1' has 12 tokens"));
  EXPECT_THAT(said, HasSubstr("a window of 20 tokens and a stride of 5"));
  EXPECT_THAT(said, HasSubstr("may have 11"));
  EXPECT_THAT(message(50, 1), HasSubstr("question 'id-1'"));
}

TEST(QaWindows, OptionsThatLeaveNoRoomAreRefused) {
  EXPECT_THROW(windows_of(example("w", "w"), {.max_length = 131, .doc_stride = 128}), Error);
  EXPECT_NO_THROW(windows_of(example("w", "w"), {.max_length = 132, .doc_stride = 128}));
  EXPECT_THROW(windows_of(example("w", "w"), {.max_length = 132, .doc_stride = -1}), Error);
}

TEST(QaWindows, ThreadsChangeNothing) {
  std::vector<QaExample> examples;
  for (int paragraph = 0; paragraph < 40; ++paragraph) {
    const auto context = std::make_shared<const std::string>(words(5 + 3 * paragraph));
    for (int question = 0; question < paragraph % 4; ++question) {
      QaExample e = example(words(1 + question), "");
      e.context = context;
      e.answers.push_back({"w3", 9});
      examples.push_back(e);
    }
  }
  const WindowTokenizer tokenizer = fake_tokenizer();
  const auto one =
      make_qa_windows(examples, tokenizer, {.max_length = 40, .doc_stride = 8, .threads = 1});
  const auto many =
      make_qa_windows(examples, tokenizer, {.max_length = 40, .doc_stride = 8, .threads = 7});
  ASSERT_EQ(one.size(), many.size());
  ASSERT_GT(one.size(), examples.size());
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].example, many[i].example);
    EXPECT_EQ(one[i].ids, many[i].ids);
    EXPECT_EQ(one[i].start, many[i].start);
    EXPECT_EQ(one[i].offset(one[i].context_begin), many[i].offset(many[i].context_begin));
  }
  EXPECT_EQ(window_lengths(one).size(), one.size());
  EXPECT_EQ(window_lengths(one)[0], one[0].length());
}

TEST(QaWindows, TheFirstFaultInOrderIsReported) {
  std::vector<QaExample> examples;
  for (int i = 0; i < 30; ++i) {
    examples.push_back(example(words(i == 11 || i == 29 ? 50 : 1), words(10)));
    examples.back().id = "q" + std::to_string(i);
  }
  for (int round = 0; round < 20; ++round) {
    try {
      make_qa_windows(examples, fake_tokenizer(),
                      {.max_length = 30, .doc_stride = 4, .threads = 4});
      FAIL();
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr("question 'q11'"));
    }
  }
}

}  // namespace
}  // namespace trireme::data
