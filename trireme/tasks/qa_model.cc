#include "trireme/tasks/qa_model.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "trireme/base/error.h"
#include "trireme/data/plan_step.h"
#include "trireme/data/qa_batch.h"
#include "trireme/data/qa_tokenizer.h"
#include "trireme/models/weights.h"

namespace trireme::tasks {
namespace {

data::WindowOptions fitted(data::WindowOptions windows, const models::BertConfig& config) {
  if (windows.max_length == 0) {
    const data::WindowOptions usual;
    const auto positions =
        static_cast<int32_t>(std::min<int64_t>(config.max_position_embeddings, usual.max_length));
    windows.max_length = positions;
    windows.doc_stride = std::min(usual.doc_stride, positions / 3);
  }
  return windows;
}

}  // namespace

models::BertConfig read_bert_config(const io::HfFolder& folder, const QaModelOptions& options) {
  models::BertConfig config = models::BertConfig::from_json(folder.config(), folder.config_path());
  if (options.attention_dropout >= 0)
    config.attention_probs_dropout_prob = options.attention_dropout;
  if (options.hidden_dropout >= 0) config.hidden_dropout_prob = options.hidden_dropout;
  config.num_labels = 2;  // start and end, whatever task the folder was for before
  return config;
}

QaModel::QaModel(const std::string& folder, const QaModelOptions& options)
    : folder_(folder),
      config_(read_bert_config(folder_, options)),
      windows_(fitted(options.windows, config_)),
      tokenizer_(text::Tokenizer::load(folder)),
      bert_(std::make_unique<models::BertForQuestionAnswering>(config_)) {
  if (tokenizer_.vocab_size() > config_.vocab_size) {
    throw input_error(folder, ": the tokenizer has ", tokenizer_.vocab_size(),
                      " tokens, the model embeds ", config_.vocab_size,
                      "; they belong to different models");
  }
  if (windows_.max_length > config_.max_position_embeddings) {
    throw input_error("windows of ", windows_.max_length,
                      " tokens (data.max_length) are longer than the ",
                      config_.max_position_embeddings, " positions of ", folder);
  }
  if (config_.type_vocab_size < 2) {
    throw input_error(folder_.config_path(),
                      ": question and context need two token types, type_vocab_size is ",
                      config_.type_vocab_size);
  }
}

void QaModel::load_for_inference(at::ScalarType dtype) {
  nn::allocate_values(units(), dtype);
  models::load_complete(*folder_.open_tensors(), units());
}

std::vector<data::QaWindow> QaModel::windows(std::span<const data::QaExample> examples) const {
  return data::make_qa_windows(examples, data::window_tokenizer(tokenizer_), windows_);
}

void QaModel::set_inputs(const data::PackedBatch& batch, nn::Context& context) {
  context.tokens = batch.tokens;
  context.positions = batch.positions;
  context.token_types = batch.token_types;
  context.seq = &batch.seq;
}

at::Tensor QaModel::forward(const data::PackedBatch& batch, nn::Context& context) {
  set_inputs(batch, context);
  return bert_->forward(context);
}

std::vector<QaLogits> QaModel::logits(std::span<const data::QaWindow> windows,
                                      int64_t micro_batch_tokens) {
  Evaluator whole;
  return logits(windows, micro_batch_tokens, whole);
}

std::vector<QaLogits> QaModel::logits(std::span<const data::QaWindow> windows,
                                      int64_t micro_batch_tokens, Evaluator& evaluator) {
  at::NoGradGuard no_grad;
  std::vector<QaLogits> all(windows.size());
  const std::vector<int32_t> lengths = data::window_lengths(windows);
  const data::StepPlan plan = data::plan_step(
      lengths, {.dp = evaluator.shares(), .micro_batch_tokens = micro_batch_tokens});
  for (const data::MicroBatch& micro : plan.ranks[static_cast<size_t>(evaluator.share())]) {
    if (micro.samples.empty()) continue;
    std::vector<data::QaBatchItem> items;
    for (const int32_t index : micro.samples)
      items.push_back({&windows[static_cast<size_t>(index)], index});
    const data::PackedBatch batch = data::pack_qa(items, micro.rows);
    nn::Context context;
    set_inputs(batch, context);
    const at::Tensor logits_t2 = evaluator.run(chain(), context);
    if (!logits_t2.defined()) continue;
    const float* x = logits_t2.const_data_ptr<float>();
    for (int64_t b = 0; b < batch.sequences(); ++b) {
      QaLogits& out = all[static_cast<size_t>(micro.samples[static_cast<size_t>(b)])];
      for (int32_t t = batch.seq.cu_q_host[b]; t < batch.seq.cu_q_host[b + 1]; ++t) {
        out.start.push_back(x[2 * t]);
        out.end.push_back(x[2 * t + 1]);
      }
    }
  }
  return all;
}

std::vector<data::QaPrediction> QaModel::answer(std::span<const data::QaExample> examples,
                                                const data::DecodeOptions& options,
                                                int64_t micro_batch_tokens) {
  const std::vector<data::QaWindow> all_windows = windows(examples);
  const std::vector<QaLogits> all_logits = logits(all_windows, micro_batch_tokens);
  return data::decode_answers(examples, all_windows, views(all_logits), options);
}

std::vector<data::WindowLogits> views(std::span<const QaLogits> logits) {
  std::vector<data::WindowLogits> out;
  for (const QaLogits& window : logits) out.push_back({window.start, window.end});
  return out;
}

}  // namespace trireme::tasks
