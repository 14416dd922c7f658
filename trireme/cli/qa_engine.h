// A trained QA model as the server's engine.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "trireme/serve/qa_engine.h"
#include "trireme/tasks/qa_model.h"

namespace trireme::cli {

// Queries, for whoever reads them meanwhile.
struct QaCounts {
  std::atomic<int64_t> answered = 0;
  std::atomic<int64_t> refused = 0;
};

struct ModelQaEngineOptions {
  std::string folder;
  at::ScalarType dtype = at::kFloat;
  data::DecodeOptions decode;
  int threads = 1;
  QaCounts* counts = nullptr;  // may be null; outlives the engine
};

class ModelQaEngine final : public serve::QaEngine {
 public:
  // Loads the model, on the thread that will run it.
  explicit ModelQaEngine(const ModelQaEngineOptions& options);
  // Long contexts are windowed. A question that leaves a window no room for its context, or so
  // little that more than 1,024 windows were needed, is refused with the limit.
  std::vector<serve::QaAnswer> answer(std::span<const serve::QaQuery> queries) override;

 private:
  ModelQaEngineOptions options_;
  tasks::QaModel model_;
};

}  // namespace trireme::cli
