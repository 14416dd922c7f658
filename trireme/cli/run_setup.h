// A training configuration, read and checked, and what it asks for: `train` and `eval` share it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "trireme/base/config.h"
#include "trireme/comm/world.h"
#include "trireme/models/weights.h"
#include "trireme/tasks/lm_task.h"
#include "trireme/tasks/qa_task.h"
#include "trireme/train/config.h"
#include "trireme/train/trainer.h"

namespace trireme::cli {

struct RunSetup {
  // Reads CONFIG.toml and the overrides; every fault is an input_error that names file, line and
  // key.
  RunSetup(const std::string& config_file, const std::vector<std::string>& overrides);
  RunSetup(const RunSetup&) = delete;
  RunSetup& operator=(const RunSetup&) = delete;

  comm::WorldOptions world_options() const;
  bool is_lm() const { return config.train.task == "lm"; }
  // The parts of a run of one task.
  tasks::QaModel make_qa_model() const;
  tasks::QaTaskOptions qa_options(bool training) const;
  tasks::LmModel make_lm_model(models::TiedHead tied_head = models::TiedHead::kShares) const;
  tasks::LmTaskOptions lm_options(bool training) const;

  train::RunConfig config;
  Schema schema;

 private:
  friend class PlannedModel;
  // The folder with config.json.
  std::string model_folder() const;
};

// What `train` trains: the task that train.task names, with its model.
class TrainedTask {
 public:
  explicit TrainedTask(const RunSetup& setup);
  tasks::Task& task() { return *task_; }
  // The model's folder, for weights to start from.
  const io::HfFolder& folder() const { return lm_ ? lm_->folder() : qa_->folder(); }

 private:
  std::unique_ptr<tasks::QaModel> qa_;  // one of the two
  std::unique_ptr<tasks::LmModel> lm_;
  std::unique_ptr<tasks::Task> task_;
};

// Says which tensors pretrained weights lacked, and which of theirs the model has no place for.
void log_loaded(const models::LoadResult& result);

// Lines for the end of a run: speed, scores, where the ranks' time went, where the checkpoint is.
std::string summary(const train::TrainResult& result);

}  // namespace trireme::cli
