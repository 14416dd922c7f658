// A QaEngine for tests: the answer is where the question's text stands in the context. A gate can
// hold it, so that requests gather; every batch is written down.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/base/utf8.h"
#include "trireme/serve/qa_engine.h"

namespace trireme::serve {

// The test's side of the engine; outlives it.
class EngineControl {
 public:
  // From now on batches wait in the engine.
  void hold() {
    std::lock_guard lock(mutex_);
    held_ = true;
  }
  // Lets all batches go on.
  void release() {
    std::lock_guard lock(mutex_);
    held_ = false;
    changed_.notify_all();
  }
  // Waits until the engine has begun so many batches.
  bool wait_for_batches(size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(5),
                             [&] { return batches_.size() >= count; });
  }
  // The questions of each batch so far.
  std::vector<std::vector<std::string>> batches() {
    std::lock_guard lock(mutex_);
    return batches_;
  }
  void enter(std::span<const QaQuery> queries) {
    std::unique_lock lock(mutex_);
    batches_.emplace_back();
    for (const QaQuery& query : queries) batches_.back().emplace_back(query.question);
    changed_.notify_all();
    changed_.wait(lock, [this] { return !held_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool held_ = false;
  std::vector<std::vector<std::string>> batches_;
};

// Questions with a meaning: "throw" throws, "refuse" is refused, "count" makes the engine give too
// few answers.
class FakeEngine final : public QaEngine {
 public:
  explicit FakeEngine(EngineControl& control) : control_(control) {}

  std::vector<QaAnswer> answer(std::span<const QaQuery> queries) override {
    control_.enter(queries);
    std::vector<QaAnswer> answers;
    for (const QaQuery& query : queries) {
      if (query.question == "throw") throw run_error("the fake engine broke");
      if (query.question == "count") continue;
      answers.push_back(answer_one(query));
    }
    return answers;
  }

 private:
  static QaAnswer answer_one(const QaQuery& query) {
    QaAnswer answer;
    answer.no_answer_score = 0.125;
    if (query.question == "refuse") {
      answer.refusal = "the question has 99 tokens; the limit is 64";
      return answer;
    }
    const size_t at = query.context.find(query.question);
    if (at != std::string_view::npos) {
      const auto start = static_cast<int64_t>(count_code_points(query.context.substr(0, at)));
      const auto length = static_cast<int64_t>(count_code_points(query.question));
      answer.best = {std::string(query.question), 0.75, start, start + length};
    }
    for (int i = 0; i < query.n_best; ++i) answer.n_best.push_back(answer.best);
    return answer;
  }

  EngineControl& control_;
};

}  // namespace trireme::serve
