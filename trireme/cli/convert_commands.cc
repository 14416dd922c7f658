// trireme import and export: Hugging Face folders in and out.
#include <iostream>

#include "trireme/base/clock.h"
#include "trireme/base/log.h"
#include "trireme/cli/command.h"
#include "trireme/cli/run_setup.h"
#include "trireme/cli/session.h"
#include "trireme/models/weights.h"

namespace trireme::cli {
namespace {

struct ConvertArguments {
  std::string from, to, report;
  bool replace = false;
  int64_t seed = 1;
  double shard_gb = 5;
};

// What converting needs of a model; `keeps` owns the rest.
struct Model {
  std::shared_ptr<void> keeps;
  const io::HfFolder* folder;
  Json config;
  std::vector<nn::UnitParams> units;
};

// A folder's model, by the model_type of its config.json: GPT-2 as a language model, BERT for QA.
Model open_model(const std::string& path) {
  if (optional_string(io::HfFolder(path).config(), "model_type", path, "") == "gpt2") {
    const auto lm = std::make_shared<tasks::LmModel>(path, tasks::LmModelOptions{});
    return {lm, &lm->folder(), lm->config().to_json("GPT2LMHeadModel"), lm->units()};
  }
  const auto qa = std::make_shared<tasks::QaModel>(path, tasks::QaModelOptions{});
  return {qa, &qa->folder(), qa->config().to_json("BertForQuestionAnswering"), qa->units()};
}

// The model's fp32 values as a whole folder: config.json, tokenizer files, model.safetensors (or
// shards). Ends the command, with its report.
void write_folder(const Model& model, const ConvertArguments& arguments, Report& report) {
  const SteadyClock clock;
  const Stopwatch watch(clock);
  int64_t tensors = 0, bytes = 0;
  io::HfWriteOptions options;
  options.replace = arguments.replace;
  options.shards.max_shard_bytes = static_cast<uint64_t>(arguments.shard_gb * 1e9);
  io::HfFolderWriter writer(arguments.to, model.config, models::tensor_infos(model.units), options);
  for (const nn::Param* param : nn::params_once(model.units)) {
    for (const nn::PartView& part : nn::part_views(*param, param->value)) {
      const at::Tensor dense = part.view.contiguous();
      writer.write(part.part->name,
                   {static_cast<const std::byte*>(dense.const_data_ptr()), dense.nbytes()});
      ++tensors;
      bytes += static_cast<int64_t>(dense.nbytes());
    }
  }
  writer.copy_tokenizer(model.folder->path());
  writer.commit();
  std::cerr << "wrote " << arguments.to << std::endl;
  report.config = {{"from", arguments.from}, {"to", arguments.to}};
  report.metrics["tensors"] = tensors;
  report.metrics["tensor_bytes"] = bytes;
  report.timings["write_s"] = watch.seconds();
  report.write(arguments.report);
}

int export_folder(const ConvertArguments& arguments) {
  const Model model = open_model(resolve_model_folder(arguments.from));
  nn::allocate_values(model.units, at::kFloat);
  models::load_complete(*model.folder->open_tensors(), model.units);
  Report report("export");
  write_folder(model, arguments, report);
  return 0;
}

int import_folder(const ConvertArguments& arguments) {
  const Model model = open_model(arguments.from);
  nn::allocate_values(model.units, at::kFloat);
  const models::LoadResult result = models::load_pretrained(
      *model.folder->open_tensors(), model.units, static_cast<uint64_t>(arguments.seed));
  log_loaded(result);
  Report report("import");
  report.metrics = {{"drawn", result.missing}, {"left_out", result.unexpected}};
  write_folder(model, arguments, report);
  return 0;
}

void add_common(CLI::App& command, ConvertArguments& arguments) {
  command.add_option("to", arguments.to, "The folder to write.")->type_name("FOLDER")->required();
  command.add_flag("--replace", arguments.replace,
                   "Take the place of a model folder of that name.");
  command
      .add_option("--max-shard-gb", arguments.shard_gb,
                  "Largest weights file; more become shards with an index.")
      ->check(CLI::Range(0.000001, 1e6))
      ->capture_default_str();
  add_report_option(command, &arguments.report);
}

}  // namespace

void add_export_command(CLI::App& app, Run& run) {
  auto arguments = std::make_shared<ConvertArguments>();
  CLI::App* command = add_command(app, "export", "Write a checkpoint as a Hugging Face folder.");
  command->add_option("from", arguments->from, "A checkpoint, or a folder of them.")
      ->type_name("CKPT")
      ->required();
  add_common(*command, *arguments);
  command->callback([arguments, &run] { run = [arguments] { return export_folder(*arguments); }; });
}

void add_import_command(CLI::App& app, Run& run) {
  auto arguments = std::make_shared<ConvertArguments>();
  CLI::App* command = add_command(app, "import",
                                  "Check a Hugging Face folder and write it in fp32: BERT as a QA "
                                  "model (a missing head is drawn), GPT-2 as a language model.");
  command->add_option("from", arguments->from, "A Hugging Face folder.")
      ->type_name("FOLDER")
      ->required();
  add_common(*command, *arguments);
  command->add_option("--seed", arguments->seed, "Seed of a head that the folder lacks.")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->callback([arguments, &run] { run = [arguments] { return import_folder(*arguments); }; });
}

}  // namespace trireme::cli
