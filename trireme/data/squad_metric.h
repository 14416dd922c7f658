// The scores of the official SQuAD 2.0 script (Rajpurkar et al., evaluate-v2.0): exact match and F1
// in percent, over all questions, those with and those without an answer, and the threshold on null
// odds that would have been best.
//
//   QaScore score = score_squad(examples, predictions);   // score.f1, score.has_ans_f1, ...
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "trireme/base/json.h"
#include "trireme/data/qa_decode.h"
#include "trireme/data/squad.h"

namespace trireme::data {

// 1 when the two are the same after normalize_answer (python_text.h), else 0.
double exact_match(std::string_view gold, std::string_view predicted);
// Harmonic mean of precision and recall over the words of both; 1 when both have none.
double word_f1(std::string_view gold, std::string_view predicted);

struct QaScore {
  double em = 0;  // percent, as all scores
  double f1 = 0;
  double has_ans_em = 0;
  double has_ans_f1 = 0;
  double no_ans_em = 0;
  double no_ans_f1 = 0;
  int64_t total = 0;  // questions
  int64_t has_ans_total = 0;
  int64_t no_ans_total = 0;
  // The best that any threshold gives, chosen on these very questions: an upper bound.
  double best_em = 0;
  double best_em_threshold = 0;
  double best_f1 = 0;
  double best_f1_threshold = 0;
};

// What is said about one question: the best span, and how much better "no answer" scores.
struct ScoredText {
  std::string text;
  double null_odds = 0;
};

// Every question must have a prediction (input_error with the number of those that have none and
// the first id); predictions of other questions are ignored. A question whose null odds are greater
// than `threshold` counts as answered with "".
QaScore score_squad(std::span<const QaExample> examples,
                    const std::map<std::string, ScoredText>& predictions, double threshold = 0);
// best_text and null_odds of each.
QaScore score_squad(std::span<const QaExample> examples, std::span<const QaPrediction> predictions,
                    double threshold = 0);

// {"em", "f1", "has_ans_em", ...}: the names that reports use.
Json to_json(const QaScore& score);

}  // namespace trireme::data
