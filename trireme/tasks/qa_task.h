// Extractive question answering on SQuAD files: a sample is a window, its loss the mean of the
// cross entropies of its start and end (Devlin et al., section 4.2), the metric F1.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "trireme/tasks/qa_model.h"
#include "trireme/tasks/task.h"

namespace trireme::tasks {

struct QaTaskOptions {
  std::string train_file;
  std::string dev_file;  // may be empty: nothing to evaluate
  bool answerable_only = false;
  data::DecodeOptions decode;
  int64_t micro_batch_tokens = 8192;  // of evaluation
};

// The loss of a batch from its logits: its sequences' share of the mean over `count`.
at::Tensor qa_loss(const at::Tensor& logits_t2, const data::PackedBatch& batch,
                   const nn::Context& context, int64_t count);

class QaTask : public ChainTask {
 public:
  // Reads and tokenises both files. `model` outlives the task. An empty train_file: evaluation
  // only.
  QaTask(QaModel& model, const QaTaskOptions& options);

  int64_t train_size() const override { return static_cast<int64_t>(train_windows_.size()); }
  int64_t train_length(int64_t index) const override {
    return train_windows_[static_cast<size_t>(index)].length();
  }
  Json identity() const override;
  data::PackedBatch make_batch(std::span<const SampleRef> samples, StepKey key) const override;
  std::vector<int64_t> loss_counts(std::span<const SampleRef> global_batch,
                                   StepKey key) const override;
  const nn::Chain& chain() const override { return model_.chain(); }
  int64_t layers() const override { return model_.config().num_hidden_layers; }
  int64_t heads() const override { return model_.config().num_attention_heads; }
  int64_t width() const override { return model_.config().hidden_size; }
  void set_inputs(const data::PackedBatch& batch, nn::Context& context,
                  std::span<const int64_t> counts) const override;
  at::Tensor loss_of(const at::Tensor& logits_t2, const data::PackedBatch& batch,
                     const nn::Context& context, std::span<const int64_t> counts) const override {
    return qa_loss(logits_t2, batch, context, counts[0]);
  }
  using Task::evaluate;
  // em, f1, has_ans_em, has_ans_f1, no_ans_em, no_ans_f1, best_*, and "questions". Empty without a
  // development set.
  Json evaluate(comm::World& world, Evaluator& evaluator) override;
  std::string metric() const override { return "f1"; }
  bool metric_higher_is_better() const override { return true; }
  double flops_per_token() const override { return model_.config().flops_per_token(); }
  void write_assets(const std::string& folder) const override;

  // Predictions for the development set, on every rank; the work is divided.
  std::vector<data::QaPrediction> predict(comm::World& world, Evaluator& evaluator);
  const std::vector<data::QaExample>& dev_examples() const { return dev_examples_; }

 private:
  QaModel& model_;
  QaTaskOptions options_;
  std::vector<data::QaWindow> train_windows_, dev_windows_;
  std::vector<data::QaExample> dev_examples_;
};

}  // namespace trireme::tasks
