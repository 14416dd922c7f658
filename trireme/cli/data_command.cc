// trireme data synth | inspect | tokenize; prepare has a file of its own.
#include <fstream>
#include <iostream>
#include <optional>

#include "trireme/base/clock.h"
#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/cli/data_commands.h"
#include "trireme/cli/session.h"
#include "trireme/data/inspect.h"
#include "trireme/data/inspect_tokens.h"
#include "trireme/data/qa_tokenizer.h"
#include "trireme/data/synth.h"
#include "trireme/text/tokenize_lines.h"

namespace trireme::cli {
namespace {

void add_synth(CLI::App& data, Run& run) {
  struct Arguments {
    std::string folder, report;
    data::SynthOptions options;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = add_command(
      data, "synth", "Write a synthetic QA set (train.json, dev.json) in SQuAD format.");
  command->add_option("folder", arguments->folder, "Where to write.")
      ->type_name("FOLDER")
      ->required();
  command->add_option("--seed", arguments->options.seed, "Seed.")->capture_default_str();
  command->add_option("--train", arguments->options.train_questions, "Questions to train on.")
      ->check(CLI::Range(1, 10000000))
      ->capture_default_str();
  command
      ->add_option("--dev", arguments->options.dev_questions,
                   "Questions with unseen names and templates.")
      ->check(CLI::Range(1, 10000000))
      ->capture_default_str();
  add_report_option(*command, &arguments->report);
  command->callback([arguments, &run] {
    run = [arguments] {
      const SteadyClock clock;
      const Stopwatch watch(clock);
      const auto& [folder, report_file, options] = *arguments;
      data::write_synth(folder, options);
      std::cerr << "wrote " << folder << "/train.json and dev.json" << std::endl;
      Report report("data synth");
      report.config = {{"folder", folder}, {"seed", options.seed}};
      report.metrics = {{"train_questions", options.train_questions},
                        {"train_bytes", file_size_bytes(folder + "/train.json")},
                        {"dev_questions", options.dev_questions},
                        {"dev_bytes", file_size_bytes(folder + "/dev.json")}};
      report.timings["write_s"] = watch.seconds();
      report.write(report_file);
      return 0;
    };
  });
}

struct InspectArguments {
  std::string file, tokenizer, report;
  data::WindowOptions windows;
};

// Prints and returns what is in the file, or in the token shard of that prefix.
Json inspect(const InspectArguments& arguments) {
  std::optional<text::Tokenizer> tokenizer;
  if (!arguments.tokenizer.empty()) tokenizer = text::Tokenizer::load(arguments.tokenizer);
  if (file_exists(arguments.file + ".idx")) {
    const data::TokenStatistics statistics =
        data::inspect_tokens(arguments.file, tokenizer ? &*tokenizer : nullptr);
    std::cout << data::to_table(statistics);
    return data::to_json(statistics);
  }
  std::optional<data::WindowTokenizer> windows;
  if (tokenizer) windows = data::window_tokenizer(*tokenizer);
  const data::SquadStatistics statistics =
      data::inspect_squad(arguments.file, windows ? &*windows : nullptr, arguments.windows);
  std::cout << data::to_table(statistics);
  return data::to_json(statistics);
}

void add_inspect(CLI::App& data, Run& run) {
  auto arguments = std::make_shared<InspectArguments>();
  CLI::App* command =
      add_command(data, "inspect", "Say what is in a SQuAD file, or in PREFIX.bin and PREFIX.idx.");
  command->add_option("file", arguments->file, "Questions in SQuAD format, or a PREFIX.")
      ->type_name("FILE|PREFIX")
      ->required();
  command
      ->add_option("--tokenizer", arguments->tokenizer,
                   "A model folder: count a SQuAD file's tokens and windows too; show a shard's "
                   "beginning as text.")
      ->type_name("FOLDER");
  command->add_option("--max-length", arguments->windows.max_length, "Longest window in tokens.")
      ->check(CLI::Range(4, 1 << 20))
      ->capture_default_str();
  command
      ->add_option("--doc-stride", arguments->windows.doc_stride,
                   "Tokens that neighbouring windows share.")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  add_report_option(*command, &arguments->report);
  command->callback([arguments, &run] {
    run = [arguments] {
      Json metrics = inspect(*arguments);
      Report report("data inspect");
      report.config = {{"file", arguments->file}};
      report.metrics = std::move(metrics);
      report.write(arguments->report);
      return 0;
    };
  });
}

void add_tokenize(CLI::App& data, Run& run) {
  struct Arguments {
    std::string tokenizer, file = "-", report;
    bool special = false;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      add_command(data, "tokenize", "One text a line in, one JSON object a line out.");
  command->add_option("file", arguments->file, "A text file; -: standard input.")
      ->type_name("FILE");
  command
      ->add_option("--tokenizer", arguments->tokenizer,
                   "A model folder, or a folder of tokenizer files.")
      ->type_name("FOLDER")
      ->required();
  command->add_flag("--special", arguments->special, "Add the special tokens ([CLS], [SEP]).");
  add_report_option(*command, &arguments->report);
  command->callback([arguments, &run] {
    run = [arguments] {
      const text::Tokenizer tokenizer = text::Tokenizer::load(arguments->tokenizer);
      std::ios::sync_with_stdio(false);
      std::ifstream file;
      if (arguments->file != "-") {
        file.open(arguments->file, std::ios::binary);
        if (!file) throw input_error(arguments->file, ": cannot be read");
      }
      const SteadyClock clock;
      const Stopwatch watch(clock);
      const int64_t texts = text::tokenize_lines(tokenizer, file.is_open() ? file : std::cin,
                                                 std::cout, arguments->special);
      if (!std::cout.flush()) throw run_error("standard output cannot be written");
      Report report("data tokenize");
      report.config = {{"tokenizer", arguments->tokenizer}, {"file", arguments->file}};
      report.metrics["texts"] = texts;
      report.timings["tokenize_s"] = watch.seconds();
      report.write(arguments->report);
      return 0;
    };
  });
}

}  // namespace

void add_data_command(CLI::App& app, Run& run) {
  CLI::App* data = add_command(app, "data", "Make, look into and tokenise data.");
  data->require_subcommand(1);
  add_prepare_command(*data, run);
  add_synth(*data, run);
  add_inspect(*data, run);
  add_tokenize(*data, run);
}

}  // namespace trireme::cli
