#include "trireme/cli/session.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <filesystem>
#include <map>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/log.h"
#include "trireme/checkpoint/folder.h"
#include "trireme/comm/rank_env.h"
#include "trireme/data/squad.h"

namespace trireme::cli {

std::unique_ptr<comm::World> join_world(const comm::WorldOptions& options) {
  auto world = comm::World::from_env(options);
  if (world->size() > 1) log::set_rank(world->rank());
  at::set_num_threads(world->threads());
  return world;
}

Json describe(const comm::World& world) {
  Json ranks = Json::array();
  for (const comm::Peer& peer : world.peers())
    ranks.push_back({{"host", peer.host}, {"pid", peer.pid}});
  return {{"size", world.size()},
          {"threads_per_rank", world.threads()},
          {"backend", world.backend()},
          {"hosts", world.hosts()},
          {"ranks", std::move(ranks)}};
}

std::string resolve_model_folder(const std::string& path) {
  if (file_exists(path + "/config.json") || !dir_exists(path))
    return path;  // HfFolder says what is wrong
  if (checkpoint::list_steps(path).empty()) {
    throw input_error(
        path, ": neither a model folder (no config.json) nor a folder of checkpoints (no step-N)");
  }
  return checkpoint::open_for_resume(path).path;
}

void require_writable(const std::string& option, const std::string& file) {
  if (comm::parse_rank_env(comm::process_environment()).rank != 0) return;
  std::error_code ignored;
  if (file_exists(file) && !std::filesystem::is_regular_file(file, ignored))
    return;  // a pipe: opening it twice could end its reader
  try {
    const AtomicFile probe(file);
  } catch (const Error& error) {
    throw input_error(option, " ", error.what(), "; give a file in a folder that can be written");
  }
}

CLI::Option* add_output_option(CLI::App& command, const std::string& name, std::string* file,
                               const std::string& help) {
  const auto check = [name](const std::string& given) {
    require_writable(name, given);
    return std::string();
  };
  return command.add_option(name, *file, help)->type_name("FILE")->check(check);
}

void add_report_option(CLI::App& command, std::string* report) {
  add_output_option(command, "--report", report,
                    "Write results, configuration and timings to this JSON file.");
}

void add_precision_option(CLI::App& command, std::string* precision) {
  command.add_option("--precision", *precision, "Arithmetic.")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
}

at::ScalarType parse_precision(const std::string& precision) {
  return precision == "bf16" ? at::kBFloat16 : at::kFloat;
}

void write_predictions(std::span<const data::QaPrediction> predictions, const std::string& file,
                       const std::string& null_odds_file) {
  std::map<std::string, std::string> texts;
  std::map<std::string, double> odds;
  for (const data::QaPrediction& prediction : predictions) {
    texts[prediction.id] = prediction.text;
    odds[prediction.id] = prediction.null_odds;
  }
  if (!file.empty()) data::write_predictions(file, texts);
  if (!null_odds_file.empty()) data::write_null_odds(null_odds_file, odds);
}

void add_decode_options(CLI::App& command, data::DecodeOptions* decode) {
  command.add_option("--n-best-size", decode->n_best, "Starts and ends considered in each window.")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command.add_option("--max-answer-tokens", decode->max_answer_tokens, "Longest answer.")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  command
      .add_option("--no-answer-threshold", decode->no_answer_threshold,
                  "Answer nothing when \"no answer\" scores this much better than the best span.")
      ->check(CLI::Range(-1e6, 1e6))
      ->capture_default_str();
}

}  // namespace trireme::cli
