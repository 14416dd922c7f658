// From the logits of a question's windows to its answer: n-best spans, the score of "no answer", a
// threshold between them. The rules of Hugging Face's question-answering example (utils_qa.py):
//   - a span is a start among the `n_best` highest start logits of its window and an end among the
//     `n_best` highest end logits, both in the context, at most `max_answer_tokens` long;
//   - its score is the sum of the two logits; the best score over all windows wins;
//   - the score of "no answer" is the lowest sum of the two [CLS] logits over the windows.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "trireme/data/qa_windows.h"
#include "trireme/data/squad.h"

namespace trireme::data {

struct DecodeOptions {
  int32_t n_best = 20;
  int32_t max_answer_tokens = 30;
  bool may_abstain = true;  // false: the best span is the answer, however likely "no answer" is
  double no_answer_threshold = 0;  // abstain when null odds are greater
};

// Logits of one window, one of each kind a token.
struct WindowLogits {
  std::span<const float> start;
  std::span<const float> end;
};

struct QaCandidate {
  std::string text;  // cut from the context
  TextSpan span;     // where it stands there, in code points
  double score = 0;
  double probability = 0;  // softmax over all candidates and "no answer"
};

struct QaPrediction {
  std::string id;
  std::string text;                 // the answer, "" when there is none
  std::string best_text;            // the best span's text, whatever the threshold says
  double null_score = 0;            // score of "no answer"
  double null_odds = 0;             // null_score - best score; infinite without candidates
  double null_probability = 0;      // 0 when it may not abstain
  std::vector<QaCandidate> n_best;  // by falling score; a span that several windows propose once
};

// `windows` are those of this example, `logits` theirs, in the same order. Throws run_error for
// logits that are not finite or whose number is not the window's length.
QaPrediction decode_answer(const QaExample& example, std::span<const QaWindow> windows,
                           std::span<const WindowLogits> logits, const DecodeOptions& options);

// All of them: `windows` as make_qa_windows gave them for `examples`, `logits` alike.
std::vector<QaPrediction> decode_answers(std::span<const QaExample> examples,
                                         std::span<const QaWindow> windows,
                                         std::span<const WindowLogits> logits,
                                         const DecodeOptions& options);

}  // namespace trireme::data
