// A training configuration, read and checked, and what it asks for: `train` and `eval` share it.
#pragma once

#include <string>
#include <vector>

#include "trireme/base/config.h"
#include "trireme/comm/world.h"
#include "trireme/models/weights.h"
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
  tasks::QaModel make_model() const;
  tasks::QaTaskOptions task_options(bool training) const;

  train::RunConfig config;
  Schema schema;
};

// Says which tensors pretrained weights lacked, and which of theirs the model has no place for.
void log_loaded(const models::LoadResult& result);

// Two lines for the end of a run: speed, scores, where the checkpoint is.
std::string summary(const train::TrainResult& result);

}  // namespace trireme::cli
