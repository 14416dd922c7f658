#include "trireme/cli/session.h"

#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <filesystem>
#include <map>

#include "trireme/base/error.h"
#include "trireme/base/log.h"
#include "trireme/checkpoint/folder.h"
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
  return {
      {"size", world.size()}, {"threads_per_rank", world.threads()}, {"ranks", std::move(ranks)}};
}

std::string resolve_model_folder(const std::string& path) {
  namespace fs = std::filesystem;
  if (fs::exists(fs::path(path) / "config.json") || !fs::is_directory(path))
    return path;  // HfFolder says what is wrong
  if (checkpoint::list_steps(path).empty()) {
    throw input_error(
        path, ": neither a model folder (no config.json) nor a folder of checkpoints (no step-N)");
  }
  return checkpoint::open_for_resume(path).path;
}

void add_report_option(CLI::App& command, std::string* report) {
  command
      .add_option("--report", *report,
                  "Write results, configuration and timings to this JSON file.")
      ->type_name("FILE");
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
      ->capture_default_str();
}

}  // namespace trireme::cli
