// What one TOML file says of a run: every key, its default and its line of help.
//
//   RunConfig config;
//   Schema schema;
//   bind(schema, &config);
//   schema.load("configs/qa-minilm.toml");
//   schema.set("train.steps=500");
//   check(schema, config);
#pragma once

#include <cstdint>
#include <string>

#include "trireme/base/config.h"
#include "trireme/optim/schedule.h"
#include "trireme/parallel/layout.h"

namespace trireme::train {

enum class Precision { kFp32, kBf16 };

struct ModelConfig {
  std::string path;               // a Hugging Face folder: weights, config.json, tokenizer
  std::string config;             // or a config.json alone: initial weights from the seed
  std::string tokenizer;          // its folder; empty: the model's
  double attention_dropout = -1;  // -1: as the model's config.json says
  double hidden_dropout = -1;
};

struct DataConfig {
  std::string train;
  std::string dev;
  double split = 0;  // share of the training documents held out instead of dev
  bool answerable_only = false;
  int64_t max_length = 384;
  int64_t doc_stride = 128;
  int64_t micro_batch_tokens = 8192;
  int64_t global_batch_tokens = 0;
  int64_t global_batch_samples = 0;
};

struct LoopConfig {
  std::string task = "qa";
  int64_t steps = 0;
  int64_t epochs = 0;
  int64_t stop_at = 0;
  int64_t seed = 1;
  Precision precision = Precision::kFp32;
  int64_t early_stop_patience = 0;
};

struct OptimConfig {
  double lr = 5e-5;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;
  double clip_norm = 1.0;
  optim::ScheduleKind schedule = optim::ScheduleKind::kLinear;
  double warmup_ratio = 0.0;
  int64_t warmup_steps = 0;
  double decay_ratio = 0.1;
};

// As the file has it; parallel::fitted() makes it whole.
struct ParallelConfig : parallel::Layout {
  ParallelConfig() : Layout{.dp = 0, .schedule = "auto", .chunks = 0} {}
};

struct CommConfig {
  std::string backend = "auto";
  double timeout_s = 300;
  std::string interface;
  std::string bind_address;
  std::string flight_dir;  // empty: "flight" in the checkpoint folder, if there is one
};

struct EvalConfig {
  int64_t every = 0;
  int64_t n_best = 20;
  int64_t max_answer_tokens = 30;
};

struct CheckpointConfig {
  std::string dir;
  int64_t every = 0;
  int64_t keep = 3;
  bool async = false;
};

struct LogConfig {
  std::string tensorboard;
};

struct RunConfig {
  ModelConfig model;
  DataConfig data;
  LoopConfig train;
  OptimConfig optim;
  ParallelConfig parallel;
  CommConfig comm;
  EvalConfig eval;
  CheckpointConfig checkpoint;
  LogConfig log;
};

// Adds every key; `config` must outlive the schema.
void bind(Schema& schema, RunConfig* config);

// What a single key's limits cannot say: keys that exclude or need each other, and layouts that
// this build does not have. Of two keys that exclude each other, one given by --set clears the
// other. Throws input_error that names the key and where it was set.
void check(const Schema& schema, RunConfig& config);

// The keys in which a run that resumes may differ from the one that saved: those that do not change
// what it computes (the layout is one of them, up to rounding), and those that say where
// things are. Throws input_error naming the first other key whose value differs.
void check_resumable(const Json& saved_config, const Json& config, const std::string& checkpoint);

}  // namespace trireme::train
