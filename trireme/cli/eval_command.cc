// trireme eval MODEL --data FILE, or eval CONFIG.toml: scores of a model on a SQuAD file, or a
// language model's loss on a tokenised corpus.
#include <iostream>

#include "trireme/base/error.h"
#include "trireme/cli/command.h"
#include "trireme/cli/run_setup.h"
#include "trireme/cli/session.h"
#include "trireme/data/squad_metric.h"

namespace trireme::cli {
namespace {

struct EvalArguments {
  std::string model, data, report, predictions, null_odds;
  std::vector<std::string> set;
  std::string precision = "fp32";
  bool answerable_only = false;
  data::DecodeOptions decode;
  int64_t micro_batch_tokens = kMicroBatchTokens;
};

void print_scores(const data::QaScore& score) {
  std::printf("%-22s %9s %9s %9s\n", "", "questions", "EM", "F1");
  auto row = [](const char* name, int64_t count, double em, double f1) {
    if (count > 0)
      std::printf("%-22s %9lld %9.2f %9.2f\n", name, static_cast<long long>(count), em, f1);
  };
  row("all", score.total, score.em, score.f1);
  row("with an answer", score.has_ans_total, score.has_ans_em, score.has_ans_f1);
  row("without", score.no_ans_total, score.no_ans_em, score.no_ans_f1);
  std::printf("best thresholds: EM %.2f at %.3f, F1 %.2f at %.3f (chosen on these questions)\n",
              score.best_em, score.best_em_threshold, score.best_f1, score.best_f1_threshold);
}

// What an option of eval is called in a configuration; given with one, it overrides the key as
// --set does. (--no-answer-threshold has no key.)
constexpr std::pair<const char*, const char*> kKeys[] = {
    {"--answerable-only", "data.answerable_only"},
    {"--micro-batch-tokens", "data.micro_batch_tokens"},
    {"--n-best-size", "eval.n_best"},
    {"--max-answer-tokens", "eval.max_answer_tokens"},
};

std::vector<std::string> overrides(const CLI::App& command, std::vector<std::string> set) {
  for (const auto& [name, key] : kKeys) {
    const CLI::Option* option = command.get_option(name);
    if (option->count() > 0) set.push_back(cat(key, "=", option->as<std::string>()));
  }
  return set;
}

// Whether it is a language model that is to be scored: by the run's task, or the model's
// config.json.
bool is_lm(const RunSetup* setup, const std::string& model_folder) {
  if (setup != nullptr) return setup->is_lm();
  return optional_string(io::HfFolder(model_folder).config(), "model_type", model_folder, "") ==
         "gpt2";
}

int evaluate_lm(const EvalArguments& arguments, const RunSetup* setup,
                const std::string& model_folder) {
  const auto world = join_world(setup ? setup->world_options() : comm::WorldOptions{});
  tasks::LmModel model =
      setup ? setup->make_lm_model() : tasks::LmModel(model_folder, tasks::LmModelOptions{});
  tasks::LmTaskOptions options;
  if (setup) options = setup->lm_options(/*training=*/false);
  options.evaluation_only = true;
  if (!arguments.data.empty()) {
    options.dev = arguments.data;
    options.dev_share = 0;
  } else if (options.dev.empty() && options.dev_share == 0) {
    throw input_error(setup->schema.where("data.dev"), ": nothing to evaluate on");
  }
  if (setup == nullptr) options.micro_batch_tokens = arguments.micro_batch_tokens;
  tasks::LmTask task(model, options);
  model.load_for_inference(parse_precision(arguments.precision));
  const Json scores = task.evaluate(*world);
  if (world->rank() != 0) return 0;
  std::printf("loss %.4f, perplexity %.2f over %lld tokens of %lld documents\n",
              scores["loss"].get<double>(), scores["perplexity"].get<double>(),
              scores["tokens"].get<long long>(), scores["documents"].get<long long>());
  Report report("eval");
  report.config =
      setup ? setup->schema.to_json() : Json{{"model", arguments.model}, {"data", arguments.data}};
  report.world = describe(*world);
  report.metrics["eval"] = scores;
  report.write(arguments.report);
  return 0;
}

int evaluate(const CLI::App& command, const EvalArguments& arguments) {
  std::unique_ptr<RunSetup> setup;
  if (arguments.model.ends_with(".toml")) {
    setup = std::make_unique<RunSetup>(arguments.model, overrides(command, arguments.set));
    if (setup->config.model.path.empty()) {
      throw input_error(setup->schema.where("model.path"),
                        ": eval needs the folder of a trained model");
    }
  } else if (!arguments.set.empty()) {
    throw input_error("--set goes with a CONFIG.toml");
  }
  if (setup == nullptr && arguments.data.empty())
    throw input_error("--data is needed with a model folder");
  const std::string folder = setup ? "" : resolve_model_folder(arguments.model);
  if (is_lm(setup.get(), folder)) return evaluate_lm(arguments, setup.get(), folder);
  const auto world = join_world(setup ? setup->world_options() : comm::WorldOptions{});
  tasks::QaModel model =
      setup ? setup->make_qa_model() : tasks::QaModel(folder, tasks::QaModelOptions{});
  tasks::QaTaskOptions options;
  if (setup) {
    options = setup->qa_options(/*training=*/false);
  } else {
    options.answerable_only = arguments.answerable_only;
    options.decode = arguments.decode;
    options.micro_batch_tokens = arguments.micro_batch_tokens;
  }
  options.decode.no_answer_threshold = arguments.decode.no_answer_threshold;
  if (!arguments.data.empty()) options.dev_file = arguments.data;
  if (options.dev_file.empty())
    throw input_error(setup->schema.where("data.dev"), ": nothing to evaluate on");
  tasks::QaTask task(model, options);
  model.load_for_inference(parse_precision(arguments.precision));
  tasks::Evaluator evaluator(*world);
  const std::vector<data::QaPrediction> predictions = task.predict(*world, evaluator);
  const data::QaScore score =
      data::score_squad(task.dev_examples(), predictions, options.decode.no_answer_threshold);
  if (world->rank() != 0) return 0;
  print_scores(score);
  write_predictions(predictions, arguments.predictions, arguments.null_odds);
  Report report("eval");
  report.config =
      setup ? setup->schema.to_json() : Json{{"model", arguments.model}, {"data", arguments.data}};
  report.world = describe(*world);
  report.metrics["eval"] = data::to_json(score);
  report.write(arguments.report);
  return 0;
}

}  // namespace

void add_eval_command(CLI::App& app, Run& run) {
  auto arguments = std::make_shared<EvalArguments>();
  CLI::App* command = add_command(app, "eval",
                                  "Score a model: EM and F1 on a SQuAD file, or a language model's "
                                  "loss and perplexity on a tokenised corpus.");
  command
      ->add_option("model", arguments->model,
                   "A model folder, a checkpoint, or the run's CONFIG.toml.")
      ->type_name("MODEL|CONFIG.toml")
      ->required();
  command
      ->add_option("--data", arguments->data,
                   "Questions in SQuAD format; a language model: a PREFIX of `data prepare`.")
      ->type_name("FILE|PREFIX");
  command->add_option("--set", arguments->set, "Override a key of CONFIG.toml.")
      ->type_name("KEY=VALUE");
  command->add_flag("--answerable-only", arguments->answerable_only,
                    "Leave out questions without an answer.");
  add_output_option(*command, "--predictions", &arguments->predictions, "Write {id: text} here.");
  add_output_option(*command, "--null-odds", &arguments->null_odds,
                    "Write {id: odds of no answer} here.");
  command->add_option("--micro-batch-tokens", arguments->micro_batch_tokens, "Most tokens at once.")
      ->check(CLI::Range(64, 1 << 24))
      ->capture_default_str();
  add_decode_options(*command, &arguments->decode);
  add_precision_option(*command, &arguments->precision);
  add_report_option(*command, &arguments->report);
  command->callback([command, arguments, &run] {
    run = [command, arguments] { return evaluate(*command, *arguments); };
  });
}

}  // namespace trireme::cli
