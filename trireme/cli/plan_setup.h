// What a run's configuration asks for, as plans take it: `plan` and `train` share it.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "trireme/cli/run_setup.h"
#include "trireme/plan/plan.h"

namespace trireme::cli {

// The model of a run by its config.json alone, without weights, tokenizer or data: to plan with.
class PlannedModel {
 public:
  explicit PlannedModel(const RunSetup& setup);
  const plan::ModelSizes& sizes() const { return sizes_; }
  std::vector<nn::UnitParams> units() const;
  // For pipeline stages: tied tables are Params of their own. Empty: nothing is tied.
  std::vector<nn::UnitParams> stage_units() const;

 private:
  plan::ModelSizes sizes_;
  std::unique_ptr<models::BertForQuestionAnswering> bert_;  // one of the two
  std::unique_ptr<models::Gpt2LmHeadModel> gpt2_, gpt2_of_stages_;
};

// Tokens of every training sample.
std::vector<int32_t> sample_lengths(const tasks::Task& task);

plan::Dtype compute_dtype(const train::RunConfig& config);

// Of the run's model and data on a machine; all of them outlive it. data_bytes: private memory of
// the data set.
plan::PlanInput plan_input(const RunSetup& setup, const PlannedModel& model,
                           std::span<const int32_t> lengths, int64_t data_bytes,
                           const plan::Machine& machine);

}  // namespace trireme::cli
