// trireme data synth | inspect | tokenize.
#include <fstream>
#include <iostream>

#include "trireme/base/error.h"
#include "trireme/cli/command.h"
#include "trireme/cli/session.h"
#include "trireme/data/inspect.h"
#include "trireme/data/qa_tokenizer.h"
#include "trireme/data/synth.h"
#include "trireme/text/tokenize_lines.h"

namespace trireme::cli {
namespace {

void add_synth(CLI::App& data, Run& run) {
  struct Arguments {
    std::string folder;
    data::SynthOptions options;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = data.add_subcommand(
      "synth", "Write a synthetic QA set (train.json, dev.json) in SQuAD format.");
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
  command->callback([arguments, &run] {
    run = [arguments] {
      data::write_synth(arguments->folder, arguments->options);
      std::cerr << "wrote " << arguments->folder << "/train.json and dev.json" << std::endl;
      return 0;
    };
  });
}

void add_inspect(CLI::App& data, Run& run) {
  struct Arguments {
    std::string file, tokenizer, report;
    data::WindowOptions windows;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command = data.add_subcommand("inspect", "Say what is in a SQuAD file.");
  command->add_option("file", arguments->file, "Questions in SQuAD format.")
      ->type_name("FILE")
      ->required();
  command
      ->add_option("--tokenizer", arguments->tokenizer,
                   "A model folder: count its tokens and windows too.")
      ->type_name("FOLDER");
  command->add_option("--max-length", arguments->windows.max_length, "Longest window in tokens.")
      ->capture_default_str();
  command
      ->add_option("--doc-stride", arguments->windows.doc_stride,
                   "Tokens that neighbouring windows share.")
      ->capture_default_str();
  add_report_option(*command, &arguments->report);
  command->callback([arguments, &run] {
    run = [arguments] {
      std::optional<data::WindowTokenizer> tokenizer;
      if (!arguments->tokenizer.empty()) {
        tokenizer = data::window_tokenizer(text::Tokenizer::load(arguments->tokenizer));
      }
      const data::SquadStatistics statistics = data::inspect_squad(
          arguments->file, tokenizer.has_value() ? &*tokenizer : nullptr, arguments->windows);
      std::cout << data::to_table(statistics);
      Report report("data inspect");
      report.config = {{"file", arguments->file}};
      report.metrics = data::to_json(statistics);
      report.write(arguments->report);
      return 0;
    };
  });
}

void add_tokenize(CLI::App& data, Run& run) {
  struct Arguments {
    std::string tokenizer, file = "-";
    bool special = false;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* command =
      data.add_subcommand("tokenize", "One text a line in, one JSON object a line out.");
  command->add_option("file", arguments->file, "A text file; -: standard input.")
      ->type_name("FILE");
  command
      ->add_option("--tokenizer", arguments->tokenizer,
                   "A model folder, or a folder of tokenizer files.")
      ->type_name("FOLDER")
      ->required();
  command->add_flag("--special", arguments->special, "Add the special tokens ([CLS], [SEP]).");
  command->callback([arguments, &run] {
    run = [arguments] {
      const text::Tokenizer tokenizer = text::Tokenizer::load(arguments->tokenizer);
      std::ios::sync_with_stdio(false);
      std::ifstream file;
      if (arguments->file != "-") {
        file.open(arguments->file, std::ios::binary);
        if (!file) throw input_error(arguments->file, ": cannot be read");
      }
      text::tokenize_lines(tokenizer, file.is_open() ? file : std::cin, std::cout,
                           arguments->special);
      if (!std::cout.flush()) throw run_error("standard output cannot be written");
      return 0;
    };
  });
}

}  // namespace

void add_data_command(CLI::App& app, Run& run) {
  CLI::App* data = app.add_subcommand("data", "Make, look into and tokenise data.");
  data->require_subcommand(1);
  add_synth(*data, run);
  add_inspect(*data, run);
  add_tokenize(*data, run);
}

}  // namespace trireme::cli
