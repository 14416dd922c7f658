#include "trireme/data/inspect.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <numeric>

#include "tests/data/fake_tokenizer.h"
#include "trireme/base/error.h"
#include "trireme/data/squad.h"

namespace trireme::data {
namespace {

using testing::HasSubstr;

TEST(LengthSpread, OfNoneOneAndMany) {
  EXPECT_EQ(spread_of({}).count, 0);
  EXPECT_EQ(spread_of({}).mean(), 0);
  const LengthSpread one = spread_of(std::vector<int32_t>{7});
  EXPECT_EQ(one.least, 7);
  EXPECT_EQ(one.median, 7);
  EXPECT_EQ(one.p95, 7);
  EXPECT_EQ(one.most, 7);
  std::vector<int32_t> lengths(100);
  std::iota(lengths.rbegin(), lengths.rend(), 1);
  const LengthSpread many = spread_of(lengths);
  EXPECT_EQ(many.count, 100);
  EXPECT_EQ(many.sum, 5050);
  EXPECT_DOUBLE_EQ(many.mean(), 50.5);
  EXPECT_EQ(many.least, 1);
  EXPECT_EQ(many.median, 50);
  EXPECT_EQ(many.p95, 95);
  EXPECT_EQ(many.most, 100);
}

class InspectSquad : public testing::Test {
 protected:
  InspectSquad() {
    std::string name = (std::filesystem::temp_directory_path() / "inspect-XXXXXX").string();
    folder_ = mkdtemp(name.data());
    file_ = folder_ + "/q.json";
    const auto first = std::make_shared<const std::string>("w1 w2 w3 w4 w5 w6 w7 w8");
    const auto second = std::make_shared<const std::string>("ü w1");
    write_squad(file_,
                std::vector<QaExample>{
                    {"1", "w9", first, {{"w2 w3", 3}, {"w2", 3}}, false, "a"},
                    {"2", "w9 w9", first, {{"w2 w3 w4 w5 w6", 3}}, false, "a"},  // fits no window
                    {"3", "w9", second, {}, true, "a"},
                    {"4", "w9", second, {{"ü", 0}}, false, "b"}});
  }
  ~InspectSquad() override { std::filesystem::remove_all(folder_); }

  std::string folder_, file_;
  WindowTokenizer tokenizer_ = fake_tokenizer();
  WindowOptions options_{.max_length = 9, .doc_stride = 3, .threads = 1};
};

TEST_F(InspectSquad, CountsQuestionsAndCharacters) {
  const SquadStatistics s = inspect_squad(file_, nullptr, options_);
  EXPECT_EQ(s.file, file_);
  EXPECT_EQ(s.articles, 2);
  EXPECT_EQ(s.paragraphs, 3);
  EXPECT_EQ(s.questions, 4);
  EXPECT_EQ(s.answerable, 3);
  EXPECT_DOUBLE_EQ(s.answerable_share(), 0.75);
  EXPECT_EQ(s.answers, 4);
  EXPECT_EQ(s.context_chars.least, 4) << "code points, not bytes";
  EXPECT_EQ(s.context_chars.most, 23);
  EXPECT_EQ(s.question_chars.sum, 2 + 5 + 2 + 2);
  EXPECT_EQ(s.answer_chars.count, 3);
  EXPECT_EQ(s.answer_chars.sum, 5 + 14 + 1);
  EXPECT_FALSE(s.windows.has_value());
}

TEST_F(InspectSquad, CountsWindows) {
  const SquadStatistics s = inspect_squad(file_, &tokenizer_, options_);
  ASSERT_TRUE(s.windows.has_value());
  // Room for 5 context tokens, then 4: [1..5] [3..7] [5..8], and [1..4] [2..5] ... [5..8].
  EXPECT_EQ(s.windows->tokens.count, 3 + 5 + 1 + 1);
  EXPECT_EQ(s.windows->tokens.most, 9);
  EXPECT_EQ(s.windows->tokens.sum, (9 + 9 + 8) + 5 * 9 + 6 + 6);
  EXPECT_EQ(s.windows->with_answer, 1 + 0 + 0 + 1);
  EXPECT_EQ(s.windows->questions_cut, 2);
  EXPECT_EQ(s.windows->answers_missed, 1);
}

TEST_F(InspectSquad, JsonAndTableSayTheSame) {
  const SquadStatistics s = inspect_squad(file_, &tokenizer_, options_);
  const Json json = to_json(s);
  EXPECT_EQ(json["questions"], 4);
  EXPECT_EQ(json["answerable_share"], 0.75);
  EXPECT_EQ(json["context_chars"]["most"], 23);
  EXPECT_EQ(json["windows"]["tokens"]["count"], 10);
  EXPECT_EQ(json["windows"]["max_length"], 9);
  EXPECT_FALSE(to_json(inspect_squad(file_, nullptr, options_)).contains("windows"));
  const std::string table = to_table(s);
  EXPECT_THAT(table, HasSubstr("questions                         4\n"));
  EXPECT_THAT(table, HasSubstr("  answerable                      3  75.0 %\n"));
  EXPECT_THAT(table, HasSubstr("windows                          10  of at most 9 tokens"));
  EXPECT_EQ(table.back(), '\n');
}

TEST_F(InspectSquad, FaultsOfFileAndWindowsAreTold) {
  EXPECT_THROW(inspect_squad(folder_ + "/none.json", nullptr, options_), Error);
  try {
    inspect_squad(file_, &tokenizer_, {.max_length = 8, .doc_stride = 3});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInput);
    EXPECT_THAT(e.what(), HasSubstr("question '2'"));
  }
}

}  // namespace
}  // namespace trireme::data
