// trireme predict MODEL: one question about one context, or a SQuAD file to predictions.json.
#include <cstdio>
#include <iostream>

#include "trireme/base/error.h"
#include "trireme/base/utf8.h"
#include "trireme/cli/command.h"
#include "trireme/cli/session.h"
#include "trireme/tasks/qa_task.h"

namespace trireme::cli {
namespace {

struct PredictArguments {
  std::string model, question, context, data, output = "predictions.json", null_odds, report;
  std::string precision = "fp32";
  int n_best = 1;
  data::DecodeOptions decode;
};

Json to_json(const data::QaCandidate& candidate) {
  return {{"answer", candidate.text},
          {"score", candidate.score},
          {"probability", candidate.probability},
          {"start", candidate.span.begin},
          {"end", candidate.span.end}};
}

int predict_one(const PredictArguments& arguments, tasks::QaModel& model) {
  data::QaExample example;
  example.id = "question";
  // As the tokenizer reads them: the answer is cut by the code points that it counts.
  example.question = clean_utf8(arguments.question);
  example.context = std::make_shared<const std::string>(clean_utf8(arguments.context));
  const data::QaPrediction prediction =
      model.answer({&example, 1}, arguments.decode, kMicroBatchTokens).front();
  if (prediction.text.empty()) {
    std::printf("(no answer)  null score %.3f, best span '%s'\n", prediction.null_score,
                prediction.best_text.c_str());
  }
  Json n_best = Json::array();
  for (const data::QaCandidate& candidate : prediction.n_best) {
    if (static_cast<int>(n_best.size()) == arguments.n_best) break;
    if (!prediction.text.empty() || arguments.n_best > 1) {
      std::printf("%s  [%d, %d)  score %.3f  probability %.3f\n", candidate.text.c_str(),
                  candidate.span.begin, candidate.span.end, candidate.score, candidate.probability);
    }
    n_best.push_back(to_json(candidate));
  }
  Report report("predict");
  report.config = {{"model", arguments.model}};
  report.metrics = {{"answer", prediction.text},
                    {"null_score", prediction.null_score},
                    {"null_probability", prediction.null_probability},
                    {"n_best", std::move(n_best)}};
  report.write(arguments.report);
  return 0;
}

int predict_file(const PredictArguments& arguments, tasks::QaModel& model) {
  const std::vector<data::QaExample> examples =
      data::read_squad(arguments.data, {.answers_optional = true});
  const std::vector<data::QaPrediction> predictions =
      model.answer(examples, arguments.decode, kMicroBatchTokens);
  write_predictions(predictions, arguments.output, arguments.null_odds);
  std::cerr << predictions.size() << " predictions in " << arguments.output << std::endl;
  Report report("predict");
  report.config = {{"model", arguments.model}, {"data", arguments.data}};
  report.metrics = {{"questions", predictions.size()}, {"output", arguments.output}};
  report.write(arguments.report);
  return 0;
}

int predict(const PredictArguments& arguments) {
  const bool one = !arguments.question.empty() && !arguments.context.empty();
  if (one == !arguments.data.empty())
    throw input_error("give --question and --context, or --data FILE");
  if (!one) require_writable("--output", arguments.output);  // the default, too
  tasks::QaModel model(resolve_model_folder(arguments.model), {});
  model.load_for_inference(parse_precision(arguments.precision));
  return one ? predict_one(arguments, model) : predict_file(arguments, model);
}

}  // namespace

void add_predict_command(CLI::App& app, Run& run) {
  auto arguments = std::make_shared<PredictArguments>();
  CLI::App* command =
      add_command(app, "predict", "Answer one question about a context, or a SQuAD file.");
  command->add_option("model", arguments->model, "A model folder or a checkpoint.")
      ->type_name("MODEL")
      ->required();
  CLI::Option* question =
      command->add_option("--question", arguments->question, "A question.")->type_name("TEXT");
  CLI::Option* context =
      command->add_option("--context", arguments->context, "The text that holds its answer.")
          ->type_name("TEXT")
          ->needs(question);
  question->needs(context);
  command->add_option("--n-best", arguments->n_best, "Candidates to print for one question.")
      ->check(CLI::Range(1, 100))
      ->capture_default_str()
      ->needs(question);
  CLI::Option* data = command
                          ->add_option("--data", arguments->data,
                                       "Questions in SQuAD format (answers may be absent).")
                          ->type_name("FILE")
                          ->excludes(question);
  add_output_option(*command, "--output", &arguments->output,
                    "Where the file's predictions go: {id: text}.")
      ->capture_default_str()
      ->needs(data);
  add_output_option(*command, "--null-odds", &arguments->null_odds,
                    "Write {id: odds of no answer} here.")
      ->needs(data);
  add_decode_options(*command, &arguments->decode);
  add_precision_option(*command, &arguments->precision);
  add_report_option(*command, &arguments->report);
  command->callback([arguments, &run] { run = [arguments] { return predict(*arguments); }; });
}

}  // namespace trireme::cli
