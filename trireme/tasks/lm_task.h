// Causal language modelling on tokenised corpora: a sample is a window of documents
// (data/lm_windows.h), its loss the cross entropy of each token given those before it in its
// document, the metric the held-out loss.
//
// The loss is the mean over all predicted tokens of the global batch. A token is predicted unless
// it is its document's first; where a document goes on in the next window, its last token here
// predicts the first one there.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "trireme/data/lm_windows.h"
#include "trireme/tasks/lm_model.h"
#include "trireme/tasks/task.h"

namespace trireme::tasks {

struct LmTaskOptions {
  std::string train = {};             // as data/blend.h reads it
  std::string dev = {};               // likewise, without weights; empty: the split, or nothing
  double dev_share = 0;               // of the documents of `train`, held out
  bool evaluation_only = false;       // of `train` only the held-out documents are opened
  int64_t window_tokens = 0;          // 0: the model's positions
  uint64_t seed = 0;                  // of the order of documents and the split
  int64_t micro_batch_tokens = 8192;  // of evaluation
};

class LmTask : public ChainTask {
 public:
  // Opens the corpora. `model` outlives the task. Throws input_error: what TokenCorpus and
  // LmWindows refuse; windows longer than the model's positions; dev and dev_share both.
  LmTask(LmModel& model, const LmTaskOptions& options);

  int64_t train_size() const override { return windows_ ? windows_->size() : 0; }
  int64_t train_length(int64_t index) const override { return windows_->length(index); }
  Json identity() const override;
  data::PackedBatch make_batch(std::span<const SampleRef> samples, StepKey key) const override;
  std::vector<int64_t> loss_counts(std::span<const SampleRef> global_batch,
                                   StepKey key) const override;
  const nn::Chain& chain() const override { return model_.chain(); }
  int64_t layers() const override { return model_.config().n_layer; }
  int64_t heads() const override { return model_.config().n_head; }
  int64_t width() const override { return model_.config().n_embd; }
  void set_inputs(const data::PackedBatch& batch, nn::Context& context,
                  std::span<const int64_t> counts) const override;
  // The chain's head makes the loss.
  at::Tensor loss_of(const at::Tensor& output, const data::PackedBatch&, const nn::Context&,
                     std::span<const int64_t>) const override {
    return output;
  }
  using Task::evaluate;
  // loss (the mean over all predicted tokens), perplexity (its exponential), tokens (those
  // predicted), documents. Empty without anything to evaluate on.
  Json evaluate(comm::World& world, Evaluator& evaluator) override;
  std::string metric() const override { return "loss"; }
  bool metric_higher_is_better() const override { return false; }
  double flops_per_token() const override { return model_.config().flops_per_token(); }
  void write_assets(const std::string& folder) const override { model_.write_assets(folder); }

 private:
  void open_training();
  void open_evaluation();

  LmModel& model_;
  LmTaskOptions options_;
  std::vector<std::unique_ptr<data::TokenCorpus>> corpora_;  // of training
  std::unique_ptr<data::LmWindows> windows_;
  std::unique_ptr<data::TokenCorpus> dev_;
};

}  // namespace trireme::tasks
