#include "trireme/data/squad_metric.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trireme/base/error.h"
#include "trireme/data/python_text.h"

namespace trireme::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

QaExample example(const std::string& id, const std::vector<std::string>& golds) {
  QaExample out;
  out.id = id;
  for (const std::string& gold : golds) out.answers.push_back({gold, 0});
  out.is_impossible = golds.empty();
  return out;
}

TEST(NormalizeAnswer, DropsCaseMarksArticlesAndSpace) {
  EXPECT_EQ(normalize_answer("The  Quick, brown-fox!"), "quick brownfox");
  EXPECT_EQ(normalize_answer("a an the"), "");
  EXPECT_EQ(normalize_answer("Theatre of an Answer"), "theatre of answer");
  EXPECT_EQ(normalize_answer("the.end"), "theend");            // marks go before articles do
  EXPECT_EQ(normalize_answer("«the» end"), "« » end");         // other marks stay and bound words
  EXPECT_EQ(normalize_answer("the\u0301 end"), "\u0301 end");  // a combining mark is no letter
  EXPECT_EQ(normalize_answer("a中 a½ a🚀"), "a中 a½ 🚀");
  EXPECT_EQ(normalize_answer("x\u00a0\u3000y\u001fz"), "x y z");
  EXPECT_EQ(normalize_answer("x\u200by"), "x\u200by");  // not white space
  EXPECT_EQ(normalize_answer("ΟΔΟΣ İ"), "οδος i\u0307");
}

TEST(PythonText, SplitAndStrip) {
  EXPECT_THAT(python_split(" a \t\u2003bc\n"), ElementsAre("a", "bc"));
  EXPECT_TRUE(python_split("").empty());
  EXPECT_TRUE(python_split(" \u00a0 ").empty());
  EXPECT_EQ(python_lstrip("\u3000 \n x "), "x ");
  EXPECT_EQ(python_lstrip("  "), "");
  EXPECT_EQ(python_lstrip("\xff x"), "\xff x");  // not UTF-8: no white space, no crash
}

TEST(SquadMetric, ExactAndF1OfPairs) {
  EXPECT_EQ(exact_match("The cat", "cat!"), 1);
  EXPECT_EQ(exact_match("cat", "cats"), 0);
  EXPECT_DOUBLE_EQ(word_f1("big black cat", "black cat"), 0.8);
  EXPECT_DOUBLE_EQ(word_f1("x x y", "x y y"), 2.0 / 3);  // words count as often as in both
  EXPECT_EQ(word_f1("", ""), 1);
  EXPECT_EQ(word_f1("the", ""), 1);
  EXPECT_EQ(word_f1("x", ""), 0);
  EXPECT_EQ(word_f1("", "x"), 0);
}

TEST(SquadMetric, SmallSetByHand) {
  const std::vector<QaExample> examples = {example("a", {"red fox", "fox"}), example("b", {"blue"}),
                                           example("c", {}), example("d", {})};
  const std::map<std::string, ScoredText> predictions = {
      {"a", {"the fox", -2}},  // right
      {"b", {"blue sky", 1}},  // abstains at 0; F1 2/3 if it did not
      {"c", {"green", -1}},    // wrongly answered
      {"d", {"pink", 3}}};     // rightly abstains
  const QaScore at_0 = score_squad(examples, predictions);
  EXPECT_DOUBLE_EQ(at_0.em, 50);
  EXPECT_DOUBLE_EQ(at_0.f1, 50);
  EXPECT_DOUBLE_EQ(at_0.has_ans_em, 50);
  EXPECT_DOUBLE_EQ(at_0.no_ans_f1, 50);
  EXPECT_EQ(at_0.total, 4);
  EXPECT_EQ(at_0.has_ans_total, 2);
  EXPECT_EQ(at_0.no_ans_total, 2);
  // All unanswered: 2 of 4; with a: 3; with a and c: 2; with b: 2 or 2 2/3; with d: less.
  EXPECT_DOUBLE_EQ(at_0.best_em, 75);
  EXPECT_DOUBLE_EQ(at_0.best_em_threshold, -2);
  EXPECT_DOUBLE_EQ(at_0.best_f1, 75);
  const QaScore at_1 = score_squad(examples, predictions, 1);
  EXPECT_DOUBLE_EQ(at_1.f1, 100 * (1 + 2.0 / 3 + 0 + 1) / 4);
  EXPECT_DOUBLE_EQ(score_squad(examples, predictions, -2.5).f1, 50);
}

TEST(SquadMetric, ReportsUseFixedNames) {
  QaScore score;
  score.em = 12.5;
  score.has_ans_f1 = 3;
  const Json json = to_json(score);
  EXPECT_EQ(json["em"], 12.5);
  EXPECT_EQ(json["has_ans_f1"], 3);
  EXPECT_TRUE(json.contains("f1"));
  EXPECT_TRUE(json.contains("no_ans_f1"));
}

TEST(SquadMetric, MissingPredictionsAreNamedOthersIgnored) {
  const std::vector<QaExample> examples = {example("a", {"x"}), example("b", {"y"}),
                                           example("c", {"z"})};
  try {
    score_squad(examples, {{"b", {"y", 0}}});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInput);
    EXPECT_THAT(e.what(), HasSubstr("no prediction for 2 of 3 questions, the first with id 'a'"));
  }
  EXPECT_DOUBLE_EQ(
      score_squad(std::span(examples).first(1), {{"a", {"x", 0}}, {"zz", {"q", 0}}}).em, 100);
  EXPECT_THROW(score_squad({}, std::map<std::string, ScoredText>{}), Error);
}

TEST(SquadMetric, EqualsTheOfficialScriptOnPairs) {
  const Json golden = read_json_file(TRIREME_SOURCE_DIR "/tests/golden/squad_metric.json");
  for (const Json& pair : golden["pairs"]) {
    const std::string gold = pair[0], text = pair[1];
    EXPECT_EQ(normalize_answer(gold), pair[2].get<std::string>()) << pair;
    EXPECT_EQ(exact_match(gold, text), pair[3].get<double>()) << pair;
    EXPECT_DOUBLE_EQ(word_f1(gold, text), pair[4].get<double>()) << pair;
  }
  EXPECT_EQ(golden["pairs"].size(), 400U);
}

TEST(SquadMetric, EqualsTheOfficialScriptOnSets) {
  const Json golden = read_json_file(TRIREME_SOURCE_DIR "/tests/golden/squad_metric.json");
  for (const Json& set : golden["sets"]) {
    std::vector<QaExample> examples;
    std::map<std::string, ScoredText> predictions;
    for (const Json& q : set["questions"]) {
      const auto id = q["id"].get<std::string>();
      examples.push_back(example(id, q["golds"].get<std::vector<std::string>>()));
      predictions[id] = {q["text"].get<std::string>(), q["null_odds"].get<double>()};
    }
    const QaScore got = score_squad(examples, predictions, set["threshold"].get<double>());
    const Json& want = set["scores"];
    const auto wanted = [&](const char* key) {
      return want.contains(key) ? want[key].get<double>() : 0;
    };
    constexpr double kBound = 1e-10;
    EXPECT_NEAR(got.em, wanted("exact"), kBound);
    EXPECT_NEAR(got.f1, wanted("f1"), kBound);
    EXPECT_NEAR(got.has_ans_em, wanted("HasAns_exact"), kBound);
    EXPECT_NEAR(got.has_ans_f1, wanted("HasAns_f1"), kBound);
    EXPECT_NEAR(got.no_ans_em, wanted("NoAns_exact"), kBound);
    EXPECT_NEAR(got.no_ans_f1, wanted("NoAns_f1"), kBound);
    EXPECT_EQ(got.total, want["total"]);
    EXPECT_EQ(got.has_ans_total, wanted("HasAns_total"));
    EXPECT_EQ(got.no_ans_total, wanted("NoAns_total"));
    EXPECT_NEAR(got.best_em, wanted("best_exact"), kBound);
    EXPECT_EQ(got.best_em_threshold, wanted("best_exact_thresh"));
    EXPECT_NEAR(got.best_f1, wanted("best_f1"), kBound);
    EXPECT_EQ(got.best_f1_threshold, wanted("best_f1_thresh"));
  }
  EXPECT_EQ(golden["sets"].size(), 6U);
}

}  // namespace
}  // namespace trireme::data
