// A trained QA model as the server's engine.
#pragma once

#include <memory>
#include <string>

#include "trireme/serve/qa_engine.h"
#include "trireme/tasks/qa_model.h"

namespace trireme::cli {

struct ModelQaEngineOptions {
  std::string folder;
  at::ScalarType dtype = at::kFloat;
  data::DecodeOptions decode;
  int64_t micro_batch_tokens = 8192;
  int threads = 1;
};

class ModelQaEngine final : public serve::QaEngine {
 public:
  // Loads the model, on the thread that will run it.
  explicit ModelQaEngine(const ModelQaEngineOptions& options);
  // A question that leaves a window no room for its context is refused with the limit; long
  // contexts are windowed.
  std::vector<serve::QaAnswer> answer(std::span<const serve::QaQuery> queries) override;

 private:
  ModelQaEngineOptions options_;
  tasks::QaModel model_;
};

}  // namespace trireme::cli
