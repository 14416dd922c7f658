#include "trireme/cli/run_setup.h"

#include <cstdio>
#include <filesystem>

#include "trireme/base/error.h"
#include "trireme/base/list_text.h"
#include "trireme/base/log.h"
#include "trireme/base/progress.h"
#include "trireme/cli/session.h"

namespace trireme::cli {

RunSetup::RunSetup(const std::string& config_file, const std::vector<std::string>& overrides) {
  train::bind(schema, &config);
  schema.load(config_file);
  for (const std::string& assignment : overrides) schema.set(assignment);
  schema.check_required();
  train::check(schema, config);
  if (const std::string& file = config.model.config;
      !file.empty() && std::filesystem::path(file).filename() != "config.json") {
    throw input_error(schema.where("model.config"), ": '", file,
                      "': the file must be named config.json, in a folder with the tokenizer");
  }
}

comm::WorldOptions RunSetup::world_options() const {
  comm::WorldOptions options;
  options.backend = config.comm.backend;
  options.timeout_s = config.comm.timeout_s;
  options.interface = config.comm.interface;
  options.bind_address = config.comm.bind_address;
  options.flight_dir = config.comm.flight_dir;
  if (options.flight_dir.empty() && !config.checkpoint.dir.empty()) {
    options.flight_dir = config.checkpoint.dir + "/flight";
  }
  return options;
}

std::string RunSetup::model_folder() const {
  if (!config.model.path.empty()) return resolve_model_folder(config.model.path);
  const std::string folder = std::filesystem::path(config.model.config).parent_path().string();
  return folder.empty() ? "." : folder;
}

tasks::QaModel RunSetup::make_qa_model() const {
  tasks::QaModelOptions options;
  options.attention_dropout = config.model.attention_dropout;
  options.hidden_dropout = config.model.hidden_dropout;
  options.windows.max_length = static_cast<int32_t>(config.data.max_length);
  options.windows.doc_stride = static_cast<int32_t>(config.data.doc_stride);
  return {model_folder(), options};
}

tasks::QaTaskOptions RunSetup::qa_options(bool training) const {
  tasks::QaTaskOptions options;
  options.train_file = training ? config.data.train : "";
  options.dev_file = config.data.dev;
  options.answerable_only = config.data.answerable_only;
  options.decode.n_best = static_cast<int32_t>(config.eval.n_best);
  options.decode.max_answer_tokens = static_cast<int32_t>(config.eval.max_answer_tokens);
  options.micro_batch_tokens = config.data.micro_batch_tokens;
  return options;
}

tasks::LmModel RunSetup::make_lm_model(models::TiedHead tied_head) const {
  return {model_folder(),
          {.attention_dropout = config.model.attention_dropout,
           .hidden_dropout = config.model.hidden_dropout,
           .tokenizer = config.model.tokenizer,
           .tied_head = tied_head}};
}

tasks::LmTaskOptions RunSetup::lm_options(bool training) const {
  return {.train = config.data.train,
          .dev = config.data.dev,
          .dev_share = config.data.split,
          .evaluation_only = !training,
          .window_tokens = config.data.max_length,
          .seed = static_cast<uint64_t>(config.train.seed),
          .micro_batch_tokens = config.data.micro_batch_tokens};
}

TrainedTask::TrainedTask(const RunSetup& setup) {
  if (setup.is_lm()) {
    lm_ = std::make_unique<tasks::LmModel>(setup.make_lm_model(
        setup.config.parallel.pp > 1 ? models::TiedHead::kCopies : models::TiedHead::kShares));
    task_ = std::make_unique<tasks::LmTask>(*lm_, setup.lm_options(/*training=*/true));
  } else {
    qa_ = std::make_unique<tasks::QaModel>(setup.make_qa_model());
    task_ = std::make_unique<tasks::QaTask>(*qa_, setup.qa_options(/*training=*/true));
  }
}

void log_loaded(const models::LoadResult& result) {
  constexpr size_t kNamed = 4;
  if (!result.missing.empty()) {
    log_info(cat("new, drawn from the seed: ", list_text(result.missing, kNamed)));
  }
  if (!result.unexpected.empty()) {
    log_info(cat("left out: ", list_text(result.unexpected, kNamed)));
  }
}

std::string summary(const train::TrainResult& result) {
  std::string text =
      cat("step ", result.step, ": ", format_count(result.real_tokens_per_s), " real tokens/s");
  if (!result.losses.empty()) text += cat(", last loss ", result.losses.back());
  if (!result.eval.empty()) {
    text += ", evaluation:";
    for (const char* key : {"em", "f1", "has_ans_f1", "no_ans_f1", "loss", "perplexity"}) {
      if (!result.eval.contains(key)) continue;
      char value[48];
      std::snprintf(value, sizeof(value), " %s %.*f", key, key == std::string_view("loss") ? 4 : 2,
                    result.eval[key].get<double>());
      text += value;
    }
  }
  if (result.ranks.size() > 1) {
    constexpr size_t kNamed = 8;
    std::vector<std::string> times;
    for (const Json& rank : result.ranks) {
      char value[64];
      std::snprintf(value, sizeof(value), "%.1f + %.1f s", rank["compute_s"].get<double>(),
                    rank["wait_s"].get<double>());
      times.emplace_back(value);
    }
    text += "\ncompute + wait by rank: " + list_text(times, kNamed);
  }
  if (!result.checkpoint.empty()) text += "\ncheckpoint " + result.checkpoint;
  return text;
}

}  // namespace trireme::cli
