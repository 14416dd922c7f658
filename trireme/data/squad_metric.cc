#include "trireme/data/squad_metric.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/data/python_text.h"

namespace trireme::data {
namespace {

// One question: its scores with the text as predicted, before any threshold.
struct Raw {
  double em = 0;
  double f1 = 0;
  double null_odds = 0;
  bool has_answer = false;
  bool says_something = false;
};

double normalized_f1(std::string_view gold, std::string_view predicted) {
  const std::vector<std::string_view> gold_words = python_split(gold);
  const std::vector<std::string_view> words = python_split(predicted);
  if (gold_words.empty() || words.empty()) return gold_words.empty() && words.empty() ? 1 : 0;
  std::unordered_map<std::string_view, int64_t> left;
  for (const std::string_view word : gold_words) ++left[word];
  int64_t same = 0;
  for (const std::string_view word : words) {
    const auto at = left.find(word);
    if (at != left.end() && at->second-- > 0) ++same;
  }
  if (same == 0) return 0;
  const double precision = static_cast<double>(same) / static_cast<double>(words.size());
  const double recall = static_cast<double>(same) / static_cast<double>(gold_words.size());
  return 2 * precision * recall / (precision + recall);
}

Raw raw_score(const QaExample& example, const ScoredText& prediction) {
  std::vector<std::string> golds;  // answers that are nothing but articles and marks do not count
  for (const QaAnswer& answer : example.answers) {
    std::string gold = normalize_answer(answer.text);
    if (!gold.empty()) golds.push_back(std::move(gold));
  }
  if (golds.empty()) golds.emplace_back();
  const std::string text = normalize_answer(prediction.text);
  Raw out;
  for (const std::string& gold : golds) {
    out.em = std::max(out.em, gold == text ? 1.0 : 0.0);
    out.f1 = std::max(out.f1, normalized_f1(gold, text));
  }
  out.null_odds = prediction.null_odds;
  out.has_answer = !example.answers.empty();
  out.says_something = !prediction.text.empty();
  return out;
}

// Begins with nothing answered and answers one question after the other, the surest first.
void find_best(const std::vector<Raw>& by_odds, int64_t no_answers, double Raw::*metric,
               double& best, double& threshold) {
  auto current = static_cast<double>(no_answers);
  double top = current;
  threshold = 0;
  for (const Raw& raw : by_odds) {
    current += raw.has_answer ? raw.*metric : (raw.says_something ? -1 : 0);
    if (current > top) {
      top = current;
      threshold = raw.null_odds;
    }
  }
  best = 100 * top / static_cast<double>(by_odds.size());
}

double percent(double sum, int64_t count) {
  return count == 0 ? 0 : 100 * sum / static_cast<double>(count);
}

QaScore total_score(std::vector<Raw> raws, double threshold) {
  if (raws.empty()) throw input_error("no questions to score");
  QaScore out;
  double em[2] = {0, 0};  // of questions without and with an answer
  double f1[2] = {0, 0};
  int64_t count[2] = {0, 0};
  for (const Raw& raw : raws) {
    const bool abstains = raw.null_odds > threshold;
    const double right = raw.has_answer ? 0 : 1;
    em[raw.has_answer ? 1 : 0] += abstains ? right : raw.em;
    f1[raw.has_answer ? 1 : 0] += abstains ? right : raw.f1;
    ++count[raw.has_answer ? 1 : 0];
  }
  out.no_ans_total = count[0];
  out.has_ans_total = count[1];
  out.total = count[0] + count[1];
  out.no_ans_em = percent(em[0], count[0]);
  out.no_ans_f1 = percent(f1[0], count[0]);
  out.has_ans_em = percent(em[1], count[1]);
  out.has_ans_f1 = percent(f1[1], count[1]);
  out.em = percent(em[0] + em[1], out.total);
  out.f1 = percent(f1[0] + f1[1], out.total);
  std::stable_sort(raws.begin(), raws.end(),
                   [](const Raw& a, const Raw& b) { return a.null_odds < b.null_odds; });
  find_best(raws, out.no_ans_total, &Raw::em, out.best_em, out.best_em_threshold);
  find_best(raws, out.no_ans_total, &Raw::f1, out.best_f1, out.best_f1_threshold);
  return out;
}

}  // namespace

double exact_match(std::string_view gold, std::string_view predicted) {
  return normalize_answer(gold) == normalize_answer(predicted) ? 1 : 0;
}

double word_f1(std::string_view gold, std::string_view predicted) {
  return normalized_f1(normalize_answer(gold), normalize_answer(predicted));
}

QaScore score_squad(std::span<const QaExample> examples,
                    const std::map<std::string, ScoredText>& predictions, double threshold) {
  std::vector<Raw> raws;
  std::string first_missing;
  for (const QaExample& example : examples) {
    const auto at = predictions.find(example.id);
    if (at == predictions.end()) {
      if (first_missing.empty()) first_missing = example.id;
      continue;
    }
    raws.push_back(raw_score(example, at->second));
  }
  if (raws.size() < examples.size()) {
    throw input_error("no prediction for ", examples.size() - raws.size(), " of ", examples.size(),
                      " questions, the first with id '", first_missing, "'");
  }
  return total_score(std::move(raws), threshold);
}

QaScore score_squad(std::span<const QaExample> examples, std::span<const QaPrediction> predictions,
                    double threshold) {
  std::map<std::string, ScoredText> texts;
  for (const QaPrediction& p : predictions) texts[p.id] = {p.best_text, p.null_odds};
  return score_squad(examples, texts, threshold);
}

Json to_json(const QaScore& score) {
  return Json{{"em", score.em},
              {"f1", score.f1},
              {"has_ans_em", score.has_ans_em},
              {"has_ans_f1", score.has_ans_f1},
              {"no_ans_em", score.no_ans_em},
              {"no_ans_f1", score.no_ans_f1},
              {"total", score.total},
              {"has_ans_total", score.has_ans_total},
              {"no_ans_total", score.no_ans_total},
              {"best_em", score.best_em},
              {"best_em_threshold", score.best_em_threshold},
              {"best_f1", score.best_f1},
              {"best_f1_threshold", score.best_f1_threshold}};
}

}  // namespace trireme::data
