#include "trireme/data/qa_decode.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <utility>

#include "trireme/base/error.h"
#include "trireme/data/code_points.h"

namespace trireme::data {
namespace {

void check(const QaExample& example, const QaWindow& window, const WindowLogits& logits) {
  const auto length = static_cast<size_t>(window.length());
  if (logits.start.size() != length || logits.end.size() != length) {
    throw run_error("question '", example.id, "': a window of ", length, " tokens has ",
                    logits.start.size(), " start and ", logits.end.size(), " end logits");
  }
  const auto finite = [](float x) { return std::isfinite(x); };
  if (!std::all_of(logits.start.begin(), logits.start.end(), finite) ||
      !std::all_of(logits.end.begin(), logits.end.end(), finite)) {
    throw run_error("question '", example.id, "': the model's logits hold NaN or infinity");
  }
}

// Tokens with the n highest logits, highest first; the earlier one among equals.
std::vector<int32_t> highest(std::span<const float> logits, int32_t n) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto count = std::min<size_t>(std::max(n, 0), order.size());
  std::partial_sort(
      order.begin(), order.begin() + static_cast<int64_t>(count), order.end(),
      [&](int32_t a, int32_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  order.resize(count);
  return order;
}

using SpanScores = std::map<std::pair<int32_t, int32_t>, double>;  // by place in the context

void add_spans(const QaWindow& window, const WindowLogits& logits, const DecodeOptions& options,
               SpanScores& scores) {
  const std::vector<int32_t> ends = highest(logits.end, options.n_best);
  for (const int32_t start : highest(logits.start, options.n_best)) {
    if (!window.is_context(start)) continue;
    for (const int32_t end : ends) {
      if (!window.is_context(end) || end < start || end - start >= options.max_answer_tokens) {
        continue;
      }
      const double score = static_cast<double>(logits.start[start]) + logits.end[end];
      const auto [at, added] =
          scores.try_emplace({window.offset(start).begin, window.offset(end).end}, score);
      if (!added) at->second = std::max(at->second, score);
    }
  }
}

void set_probabilities(QaPrediction& out, bool may_abstain) {
  double top = may_abstain ? out.null_score : -std::numeric_limits<double>::infinity();
  if (!out.n_best.empty()) top = std::max(top, out.n_best.front().score);
  double sum = 0;
  if (may_abstain) sum += out.null_probability = std::exp(out.null_score - top);
  for (QaCandidate& c : out.n_best) sum += c.probability = std::exp(c.score - top);
  out.null_probability /= sum > 0 ? sum : 1;
  for (QaCandidate& c : out.n_best) c.probability /= sum;
}

}  // namespace

QaPrediction decode_answer(const QaExample& example, std::span<const QaWindow> windows,
                           std::span<const WindowLogits> logits, const DecodeOptions& options) {
  if (windows.size() != logits.size()) {
    throw run_error("question '", example.id, "' has ", windows.size(), " windows, but logits of ",
                    logits.size());
  }
  QaPrediction out;
  out.id = example.id;
  out.null_score = std::numeric_limits<double>::infinity();
  SpanScores scores;
  for (size_t i = 0; i < windows.size(); ++i) {
    check(example, windows[i], logits[i]);
    out.null_score =
        std::min(out.null_score, static_cast<double>(logits[i].start[0]) + logits[i].end[0]);
    add_spans(windows[i], logits[i], options, scores);
  }
  std::vector<std::pair<std::pair<int32_t, int32_t>, double>> ranked(scores.begin(), scores.end());
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  if (ranked.size() > static_cast<size_t>(std::max(options.n_best, 0))) {
    ranked.resize(options.n_best);
  }
  for (const auto& [span, score] : ranked) {
    out.n_best.push_back(
        {.text = std::string(cut_code_points(*example.context, span.first, span.second)),
         .span = {span.first, span.second},
         .score = score});
  }
  const double best =
      out.n_best.empty() ? -std::numeric_limits<double>::infinity() : out.n_best.front().score;
  out.null_odds = out.null_score - best;
  if (!out.n_best.empty()) out.best_text = out.n_best.front().text;
  set_probabilities(out, options.may_abstain);
  const bool abstains = options.may_abstain && out.null_odds > options.no_answer_threshold;
  if (!abstains) out.text = out.best_text;
  return out;
}

std::vector<QaPrediction> decode_answers(std::span<const QaExample> examples,
                                         std::span<const QaWindow> windows,
                                         std::span<const WindowLogits> logits,
                                         const DecodeOptions& options) {
  if (windows.size() != logits.size()) {
    throw run_error("there are ", windows.size(), " windows, but logits of ", logits.size());
  }
  std::vector<QaPrediction> out;
  out.reserve(examples.size());
  size_t begin = 0;
  for (size_t i = 0; i < examples.size(); ++i) {
    size_t end = begin;
    while (end < windows.size() && windows[end].example == static_cast<int64_t>(i)) ++end;
    if (end == begin) throw run_error("question '", examples[i].id, "' has no window");
    out.push_back(decode_answer(examples[i], windows.subspan(begin, end - begin),
                                logits.subspan(begin, end - begin), options));
    begin = end;
  }
  return out;
}

}  // namespace trireme::data
