#include "trireme/cli/qa_engine.h"

#include <ATen/Parallel.h>

#include "trireme/base/error.h"
#include "trireme/cli/session.h"

namespace trireme::cli {
namespace {

constexpr int64_t kMaxWindows = 1024;  // of a query: at most a minute or so of work

tasks::QaModelOptions model_options() {
  tasks::QaModelOptions options;
  options.windows.max_windows = kMaxWindows;
  options.windows.threads = 1;
  return options;
}

data::QaExample example_of(const serve::QaQuery& query, size_t index) {
  data::QaExample example;
  example.id = cat("query ", index);
  example.question = std::string(query.question);
  example.context = std::make_shared<const std::string>(query.context);
  return example;
}

serve::QaAnswer answer_of(const data::QaPrediction& prediction, const serve::QaQuery& query) {
  serve::QaAnswer answer;
  answer.no_answer_score = prediction.null_score;
  for (const data::QaCandidate& candidate : prediction.n_best) {
    if (static_cast<int>(answer.n_best.size()) == query.n_best) break;
    answer.n_best.push_back(
        {candidate.text, candidate.score, candidate.span.begin, candidate.span.end});
  }
  if (!prediction.text.empty()) {
    answer.best = answer.n_best.front();
  } else {
    answer.best.score = prediction.null_score;
  }
  return answer;
}

}  // namespace

ModelQaEngine::ModelQaEngine(const ModelQaEngineOptions& options)
    : options_(options), model_(options.folder, model_options()) {
  at::set_num_threads(options.threads);
  model_.load_for_inference(options.dtype);
}

std::vector<serve::QaAnswer> ModelQaEngine::answer(std::span<const serve::QaQuery> queries) {
  std::vector<serve::QaAnswer> answers(queries.size());
  std::vector<data::QaExample> examples;
  std::vector<data::QaWindow> windows;
  std::vector<size_t> asked;  // query of each example
  for (size_t i = 0; i < queries.size(); ++i) {
    const data::QaExample example = example_of(queries[i], i);
    try {
      for (data::QaWindow& window : model_.windows({&example, 1})) {
        window.example = static_cast<int64_t>(examples.size());
        windows.push_back(std::move(window));
      }
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::kInput) throw;
      answers[i].refusal = error.what();
      continue;
    }
    examples.push_back(example);
    asked.push_back(i);
  }
  const std::vector<tasks::QaLogits> logits = model_.logits(windows, kMicroBatchTokens);
  const std::vector<data::QaPrediction> predictions =
      data::decode_answers(examples, windows, tasks::views(logits), options_.decode);
  for (size_t e = 0; e < examples.size(); ++e)
    answers[asked[e]] = answer_of(predictions[e], queries[asked[e]]);
  if (options_.counts != nullptr) {
    options_.counts->answered += static_cast<int64_t>(examples.size());
    options_.counts->refused += static_cast<int64_t>(queries.size() - examples.size());
  }
  return answers;
}

}  // namespace trireme::cli
