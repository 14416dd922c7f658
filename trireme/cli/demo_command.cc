// trireme demo: the whole way in one command. Built-in data (or a SQuAD file), training on two
// ranks, evaluation, and a question asked over HTTP of the model just trained.
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <thread>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/progress.h"
#include "trireme/checkpoint/folder.h"
#include "trireme/cli/command.h"
#include "trireme/cli/qa_engine.h"
#include "trireme/cli/session.h"
#include "trireme/comm/rank_env.h"
#include "trireme/data/squad.h"
#include "trireme/data/synth.h"
#include "trireme/launch/launcher.h"
#include "trireme/serve/http_client.h"
#include "trireme/serve/qa_server.h"

namespace trireme::cli {
namespace {

namespace fs = std::filesystem;

struct DemoArguments {
  std::string model = ".deps/models/minilm-l6";
  std::string data;
  std::string folder = "build/demo";
  std::string report;
  std::string precision = "bf16";
  int ranks = 2;
  int epochs = 2;
  data::SynthOptions synth;
};

// The demo overwrites what is in its folder, so it must be one that a demo made; files that it
// makes are marked by the one that is made first.
void take_folder(const DemoArguments& arguments) {
  const std::string& folder = arguments.folder;
  const std::string mark = folder + "/.trireme-demo";
  ensure_dir(folder);
  if (!file_exists(mark) && !list_dir(folder).empty()) {
    throw input_error(folder,
                      ": has files that no demo wrote, and a demo would overwrite them; "
                      "give --folder another name");
  }
  for (const char* name : {"/train.json", "/dev.json"}) {
    std::error_code absent;
    if (fs::equivalent(arguments.data, folder + name, absent)) {
      throw input_error("--data ", arguments.data,
                        " is in the demo's own folder, which it overwrites; "
                        "give --folder another name");
    }
  }
  write_file_atomic(mark, "trireme demo may overwrite this folder\n");
  std::error_code failed;
  fs::remove_all(folder + "/checkpoints", failed);
  if (failed) throw run_error(folder, "/checkpoints: cannot be removed: ", failed.message());
}

// A user's file in two: the articles of the last fifth of the questions are kept for evaluation.
void split_file(const std::string& file, const std::string& folder) {
  const std::vector<data::QaExample> all = data::read_squad(file);
  size_t cut = all.size() * 4 / 5;
  while (cut < all.size() && cut > 0 && all[cut].title == all[cut - 1].title) ++cut;
  if (cut == 0 || cut == all.size())
    cut = all.size() * 4 / 5;  // one article: split among its questions
  if (cut == 0 || cut == all.size())
    throw input_error(file, ": too few questions to train and evaluate on");
  data::write_squad(folder + "/train.json", std::span(all).first(cut));
  data::write_squad(folder + "/dev.json", std::span(all).subspan(cut));
}

std::string quoted(const std::string& path) {
  return dump_json(Json(fs::absolute(path).string()));
}

std::string config_text(const DemoArguments& arguments) {
  return cat("# written by trireme demo\n[model]\npath = ", quoted(arguments.model),
             "\n[data]\ntrain = ", quoted(arguments.folder + "/train.json"),
             "\ndev = ", quoted(arguments.folder + "/dev.json"),
             "\nglobal_batch_samples = 16\n[train]\nepochs = ", arguments.epochs,
             "\nprecision = \"", arguments.precision,
             "\"\n[optim]\nlr = 3e-4\nwarmup_ratio = 0.1\n[checkpoint]\ndir = ",
             quoted(arguments.folder + "/checkpoints"), "\nkeep = 1\n");
}

// Asks the server what the development set asks; returns the exchange.
Json ask(const serve::QaServer& server, const data::QaExample& example) {
  serve::HttpClient client("127.0.0.1", server.port());
  const Json question = {{"question", example.question}, {"context", *example.context}};
  const serve::HttpResult result = client.post("/v1/qa", dump_json(question));
  if (result.status != 200)
    throw run_error("POST /v1/qa answered ", result.status, ": ", result.body);
  return {{"request", question}, {"response", parse_json(result.body, "the answer of /v1/qa")}};
}

Json serve_and_ask(const std::string& checkpoint, const data::QaExample& example) {
  ModelQaEngineOptions engine;
  engine.folder = checkpoint;
  engine.threads = static_cast<int>(comm::available_cpus().size());
  serve::QaServerOptions options;
  options.http.port = 0;
  serve::QaServer server(options, [&engine] { return std::make_unique<ModelQaEngine>(engine); });
  Json exchange;
  std::exception_ptr failed;
  std::thread asker;
  server.run([&] {
    std::printf("serving on %s\n", server.url().c_str());
    asker = std::thread([&] {
      try {
        exchange = ask(server, example);
      } catch (...) {
        failed = std::current_exception();
      }
      server.request_stop();
    });
  });
  if (asker.joinable()) asker.join();
  if (failed) std::rethrow_exception(failed);
  if (exchange.is_null())
    throw Error(ErrorKind::kInterrupted, "interrupted before the question was answered");
  return exchange;
}

void print_answer(const Json& exchange, const data::QaExample& example) {
  const Json& response = exchange["response"];
  std::printf(
      "\ncontext   %s\nquestion  %s\nanswer    %s  [%lld, %lld)  score %.2f\nexpected  %s\n",
      example.context->c_str(), example.question.c_str(),
      response["answer"].get<std::string>().c_str(),
      static_cast<long long>(response["start"].get<int64_t>()),
      static_cast<long long>(response["end"].get<int64_t>()), response["score"].get<double>(),
      example.answers.front().text.c_str());
}

int demo(const DemoArguments& arguments) {
  if (!file_exists(arguments.model + "/config.json")) {
    throw input_error("no model in ", arguments.model,
                      "; run tools/setup.sh, which brings it, or give --model with a BERT folder");
  }
  take_folder(arguments);
  if (arguments.data.empty()) {
    data::write_synth(arguments.folder, arguments.synth);
  } else {
    split_file(arguments.data, arguments.folder);
  }
  const std::string config = arguments.folder + "/config.toml",
                    train_report = arguments.folder + "/train.json.report";
  write_file_atomic(config, config_text(arguments));

  std::printf("training %s on %s, %d ranks\n", arguments.model.c_str(),
              arguments.data.empty() ? "built-in synthetic questions" : arguments.data.c_str(),
              arguments.ranks);
  std::fflush(stdout);
  launch::LaunchOptions launch;
  launch.ranks = arguments.ranks;
  launch.own_commands = command_names();
  launch.command = {"train", config, "--report", train_report};
  if (const int code = launch::launch(launch); code != 0) return code;

  const std::vector<data::QaExample> dev = data::read_squad(arguments.folder + "/dev.json");
  const auto example =
      std::find_if(dev.begin(), dev.end(), [](const auto& e) { return !e.answers.empty(); });
  if (example == dev.end())
    throw input_error(arguments.folder, "/dev.json: no question with an answer to ask");
  const std::string checkpoint =
      checkpoint::open_for_resume(arguments.folder + "/checkpoints").path;
  const Json exchange = serve_and_ask(checkpoint, *example);
  print_answer(exchange, *example);

  const Json trained = read_json_file(train_report);
  const Json& eval = trained["metrics"]["eval"];
  std::printf(
      "\nEM %.2f, F1 %.2f on %lld unseen questions; %s real tokens/s\nserve it: trireme serve %s\n",
      eval["em"].get<double>(), eval["f1"].get<double>(), static_cast<long long>(dev.size()),
      format_count(trained["metrics"]["real_tokens_per_s"].get<double>()).c_str(),
      checkpoint.c_str());
  Report report("demo");
  report.config = trained["config"];
  report.world = trained["world"];
  report.metrics = trained["metrics"];
  report.metrics["answer"] = exchange;
  report.metrics["checkpoint"] = checkpoint;
  report.timings = trained["timings"];
  report.write(arguments.report.empty() ? arguments.folder + "/report.json" : arguments.report);
  return 0;
}

}  // namespace

void add_demo_command(CLI::App& app, Run& run) {
  auto arguments = std::make_shared<DemoArguments>();
  CLI::App* command =
      add_command(app, "demo", "Train on built-in data on 2 ranks, evaluate, ask a question.");
  command->add_option("--model", arguments->model, "A BERT folder to start from.")
      ->type_name("FOLDER")
      ->capture_default_str();
  CLI::Option* data =
      command
          ->add_option("--data", arguments->data, "A SQuAD file instead of the built-in questions.")
          ->type_name("FILE");
  command
      ->add_option("--folder", arguments->folder,
                   "Where everything is written: a new folder, or an earlier demo's.")
      ->capture_default_str();
  command->add_option("-n,--ranks", arguments->ranks, "Ranks.")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_option("--epochs", arguments->epochs, "Epochs.")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command
      ->add_option("--questions", arguments->synth.train_questions,
                   "Built-in questions to train on.")
      ->check(CLI::Range(16, 1000000))
      ->capture_default_str()
      ->excludes(data);
  add_precision_option(*command, &arguments->precision);
  add_output_option(*command, "--report", &arguments->report,
                    "Where the results go; default: FOLDER/report.json.");
  command->callback([arguments, &run] { run = [arguments] { return demo(*arguments); }; });
}

}  // namespace trireme::cli
