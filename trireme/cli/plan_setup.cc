#include "trireme/cli/plan_setup.h"

#include "trireme/io/hf_folder.h"
#include "trireme/models/bert.h"
#include "trireme/models/gpt2.h"

namespace trireme::cli {

PlannedModel::PlannedModel(const RunSetup& setup) {
  const io::HfFolder folder(setup.model_folder());
  const train::ModelConfig& model = setup.config.model;
  if (setup.is_lm()) {
    const auto config =
        tasks::read_gpt2_config(folder, {.attention_dropout = model.attention_dropout,
                                         .hidden_dropout = model.hidden_dropout,
                                         .tokenizer = {}});
    sizes_ = plan::sizes_of(config);
    gpt2_ = std::make_unique<models::Gpt2LmHeadModel>(config);
    gpt2_of_stages_ = std::make_unique<models::Gpt2LmHeadModel>(config, models::TiedHead::kCopies);
  } else {
    tasks::QaModelOptions options;
    options.attention_dropout = model.attention_dropout;
    options.hidden_dropout = model.hidden_dropout;
    const auto config = tasks::read_bert_config(folder, options);
    sizes_ = plan::sizes_of(config);
    bert_ = std::make_unique<models::BertForQuestionAnswering>(config);
  }
}

std::vector<nn::UnitParams> PlannedModel::units() const {
  return gpt2_ ? gpt2_->units() : bert_->units();
}

std::vector<nn::UnitParams> PlannedModel::stage_units() const {
  return gpt2_of_stages_ ? gpt2_of_stages_->units() : std::vector<nn::UnitParams>();
}

std::vector<int32_t> sample_lengths(const tasks::Task& task) {
  std::vector<int32_t> lengths;
  for (int64_t i = 0; i < task.train_size(); ++i) {
    lengths.push_back(static_cast<int32_t>(task.train_length(i)));
  }
  return lengths;
}

plan::Dtype compute_dtype(const train::RunConfig& config) {
  return config.train.precision == train::Precision::kBf16 ? plan::Dtype::kBf16
                                                           : plan::Dtype::kFp32;
}

plan::PlanInput plan_input(const RunSetup& setup, const PlannedModel& model,
                           std::span<const int32_t> lengths, int64_t data_bytes,
                           const plan::Machine& machine) {
  const train::RunConfig& config = setup.config;
  return {.sizes = model.sizes(),
          .units = model.units(),
          .stage_units = model.stage_units(),
          .dtype = compute_dtype(config),
          .lengths = lengths,
          .batch = {.global_batch_samples = config.data.global_batch_samples,
                    .global_batch_tokens = config.data.global_batch_tokens},
          .micro_batch_tokens = config.data.micro_batch_tokens,
          .seed = static_cast<uint64_t>(config.train.seed),
          .loads_weights = !config.model.path.empty(),
          .data_bytes = data_bytes,
          .machine = &machine};
}

}  // namespace trireme::cli
