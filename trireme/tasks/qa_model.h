// A BERT for extractive question answering with what belongs to it: configuration, tokenizer, and
// the way from windows of text to logits and answers. Training, evaluation, prediction and serving
// all go through it.
//
//   QaModel model(folder, {});
//   model.load_for_inference(at::kFloat);
//   QaPrediction answer = model.answer(question, context, {}, {})[0];
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "trireme/data/packed_batch.h"
#include "trireme/data/qa_decode.h"
#include "trireme/data/qa_windows.h"
#include "trireme/io/hf_folder.h"
#include "trireme/models/bert.h"
#include "trireme/tasks/evaluator.h"
#include "trireme/text/tokenizer.h"

namespace trireme::tasks {

struct QaModelOptions {
  double attention_dropout = -1;  // -1: as config.json says
  double hidden_dropout = -1;
  // Windows; max_length 0: 384 tokens with a stride of 128, or less where the model has fewer
  // positions.
  data::WindowOptions windows{.max_length = 0};
};

// The folder's config.json, with the options' dropouts.
models::BertConfig read_bert_config(const io::HfFolder& folder, const QaModelOptions& options);

// Start and end logits of one window's tokens.
struct QaLogits {
  std::vector<float> start, end;
};

class QaModel {
 public:
  // Reads config.json and the tokenizer; weights come later, into whatever storage the Params are
  // given. Throws input_error: no such folder, a model that is no BERT, a tokenizer whose
  // vocabulary the model does not have, windows longer than the model's positions.
  QaModel(const std::string& folder, const QaModelOptions& options);

  // Storage for the Params in `dtype`, and the folder's weights, all of them.
  void load_for_inference(at::ScalarType dtype);

  const io::HfFolder& folder() const { return folder_; }
  const models::BertConfig& config() const { return config_; }
  const text::Tokenizer& tokenizer() const { return tokenizer_; }
  const data::WindowOptions& window_options() const { return windows_; }
  const nn::Chain& chain() const { return bert_->chain(); }
  std::vector<nn::UnitParams> units() const { return bert_->units(); }

  // Windows of questions about contexts.
  std::vector<data::QaWindow> windows(std::span<const data::QaExample> examples) const;
  // fp32 [T, 2]
  at::Tensor forward(const data::PackedBatch& batch, nn::Context& context);
  // What the chain reads of the batch, into the context.
  static void set_inputs(const data::PackedBatch& batch, nn::Context& context);

  // Logits of windows, in batches of at most micro_batch_tokens, without dropout or gradients: of
  // those that plan_step deals to the evaluator's share, where it has them; the others stay empty.
  std::vector<QaLogits> logits(std::span<const data::QaWindow> windows, int64_t micro_batch_tokens,
                               Evaluator& evaluator);
  // Of all of them, in this process.
  std::vector<QaLogits> logits(std::span<const data::QaWindow> windows, int64_t micro_batch_tokens);
  // From text to answers, in this process.
  std::vector<data::QaPrediction> answer(std::span<const data::QaExample> examples,
                                         const data::DecodeOptions& options,
                                         int64_t micro_batch_tokens);

 private:
  io::HfFolder folder_;
  models::BertConfig config_;
  data::WindowOptions windows_;
  text::Tokenizer tokenizer_;
  std::unique_ptr<models::BertForQuestionAnswering> bert_;
};

// The logits as decode_answers takes them.
std::vector<data::WindowLogits> views(std::span<const QaLogits> logits);

}  // namespace trireme::tasks
