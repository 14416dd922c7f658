// trireme data prepare INPUT... --tokenizer FOLDER --output-prefix PREFIX: text to token shards.
#include <cstdio>
#include <filesystem>
#include <iostream>

#include "trireme/base/clock.h"
#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/hash.h"
#include "trireme/base/progress.h"
#include "trireme/cli/data_commands.h"
#include "trireme/cli/session.h"
#include "trireme/comm/rank_env.h"
#include "trireme/data/prepare.h"
#include "trireme/io/hf_folder.h"

namespace trireme::cli {
namespace {

struct PrepareArguments {
  std::vector<std::string> inputs;
  std::string tokenizer, report;
  data::PrepareOptions options;
  bool append_end = true;
  int workers = 0;
};

// Of the files that the tokenizer is read from.
std::string hash_of_tokenizer(const std::string& path) {
  Xxh3 hash;
  const auto add = [&hash](const std::string& file) {
    if (file_exists(file)) hash.add(MappedFile(file).bytes());
  };
  if (file_exists(path)) {
    add(path);
  } else {
    for (const std::string& name : io::tokenizer_file_names()) add(path + "/" + name);
  }
  return hash.hex();
}

// One line refreshed on a terminal, one every 10 s elsewhere.
class PrepareLine {
 public:
  void show(const data::PrepareProgress& progress) {
    if (progress.resumed) {
      std::cerr << "going on behind " << format_count(static_cast<double>(progress.documents))
                << " documents" << std::endl;
    }
    if (first_tokens_ < 0) first_tokens_ = progress.tokens;
    const double now = watch_.seconds();
    if (!in_place_ && now - shown_s_ < kPlainInterval_s) return;
    shown_s_ = now;
    const double rate = now > 0 ? static_cast<double>(progress.tokens - first_tokens_) / now : 0;
    char text[160];
    std::snprintf(text, sizeof(text), "%5.1f %% of %.1f MB  %s documents  %s tokens  %s tokens/s",
                  100.0 * static_cast<double>(progress.bytes) /
                      static_cast<double>(std::max<int64_t>(progress.total_bytes, 1)),
                  static_cast<double>(progress.total_bytes) * 1e-6,
                  format_count(static_cast<double>(progress.documents)).c_str(),
                  format_count(static_cast<double>(progress.tokens)).c_str(),
                  format_count(rate).c_str());
    std::cerr << (in_place_ ? "\r\x1b[K" : "") << text << (in_place_ ? "" : "\n") << std::flush;
  }
  void end() const {
    if (in_place_) std::cerr << "\r\x1b[K" << std::flush;
  }

 private:
  static constexpr double kPlainInterval_s = 10;
  SteadyClock clock_;
  Stopwatch watch_{clock_};
  bool in_place_ = stderr_is_terminal();
  double shown_s_ = 0;
  int64_t first_tokens_ = -1;
};

int32_t end_token(const text::Tokenizer& tokenizer, const std::string& path) {
  if (const auto id = tokenizer.eos_id()) return *id;
  if (const auto id = tokenizer.token_to_id("<|endoftext|>")) return *id;
  throw input_error(path,
                    ": the tokenizer names no end-of-text token to put behind documents; "
                    "--no-append-eod leaves it out");
}

int prepare(PrepareArguments& arguments) {
  const text::Tokenizer tokenizer =
      file_exists(arguments.tokenizer)
          ? text::Tokenizer::from_json(read_file(arguments.tokenizer), arguments.tokenizer)
          : text::Tokenizer::load(arguments.tokenizer);
  data::PrepareOptions& options = arguments.options;
  options.source.files = arguments.inputs;
  if (arguments.append_end) options.end_token = end_token(tokenizer, arguments.tokenizer);
  options.workers =
      arguments.workers > 0 ? arguments.workers : static_cast<int>(comm::available_cpus().size());
  if (const auto folder = std::filesystem::path(options.prefix).parent_path(); !folder.empty())
    ensure_dir(folder.string());
  PrepareLine line;
  options.on_progress = [&line](const data::PrepareProgress& progress) { line.show(progress); };
  const SteadyClock clock;
  const Stopwatch watch(clock);
  data::PrepareResult result;
  try {
    result = data::prepare(options, tokenizer, hash_of_tokenizer(arguments.tokenizer));
  } catch (...) {
    line.end();
    throw;
  }
  line.end();
  const double seconds = watch.seconds(),
               rate = static_cast<double>(result.tokens_here) / std::max(seconds, 1e-9);
  if (result.skipped > 0) {
    std::cerr << "left out " << result.skipped
              << " bad documents, the first: " << result.first_skipped << std::endl;
  }
  std::cerr << "wrote " << options.prefix
            << ".bin and .idx: " << format_count(static_cast<double>(result.documents))
            << " documents, " << format_count(static_cast<double>(result.tokens)) << " tokens ("
            << format_count(rate) << " tokens/s)" << std::endl;
  Report report("data prepare");
  report.config = {{"inputs", arguments.inputs},         {"tokenizer", arguments.tokenizer},
                   {"output_prefix", options.prefix},    {"json_key", options.json_key},
                   {"append_eod", arguments.append_end}, {"workers", options.workers}};
  report.metrics = {{"documents", result.documents},
                    {"tokens", result.tokens},
                    {"empty", result.empty},
                    {"skipped", result.skipped},
                    {"tokens_per_s", rate}};
  report.timings["prepare_s"] = seconds;
  report.write(arguments.report);
  return 0;
}

}  // namespace

void add_prepare_command(CLI::App& data, Run& run) {
  auto arguments = std::make_shared<PrepareArguments>();
  data::PrepareOptions& options = arguments->options;
  CLI::App* command =
      add_command(data, "prepare",
                  "Tokenise text and JSON lines into PREFIX.bin and PREFIX.idx (Megatron-LM's "
                  "format). Killed, the same command goes on where it stopped.");
  command
      ->add_option("input,--input", arguments->inputs,
                   "JSON lines (.jsonl: a document a line) or plain text (.txt).")
      ->type_name("FILE...")
      ->required();
  command
      ->add_option("--tokenizer,--tokenizer-model", arguments->tokenizer,
                   "A model folder, a folder of tokenizer files, or a tokenizer.json.")
      ->type_name("FOLDER|FILE")
      ->required();
  command
      ->add_option("--output-prefix,--output", options.prefix, "PREFIX of the two files to write.")
      ->type_name("PREFIX")
      ->required();
  command->add_option("--json-key,--json-keys", options.json_key, "JSON lines: where the text is.")
      ->type_name("KEY")
      ->capture_default_str();
  command
      ->add_option("--format", options.source.format,
                   "What the files are: auto (by name), jsonl, text.")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, data::TextFormat>{{"auto", data::TextFormat::kByName},
                                                  {"jsonl", data::TextFormat::kJsonLines},
                                                  {"text", data::TextFormat::kText}}))
      ->default_str("auto");
  command
      ->add_option("--text-document", options.source.text_unit,
                   "Plain text: what is one document: file, paragraph (between blank lines), line.")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, data::TextUnit>{{"file", data::TextUnit::kFile},
                                                {"paragraph", data::TextUnit::kParagraph},
                                                {"line", data::TextUnit::kLine}}))
      ->default_str("file");
  command->add_flag("--append-eod,!--no-append-eod", arguments->append_end,
                    "End each document with the tokenizer's end-of-text token (on unless turned "
                    "off).");
  command->add_flag("--skip-bad", options.skip_bad,
                    "Leave out documents that cannot be read, and count them.");
  command->add_option("--workers", arguments->workers, "Threads; 0: one a core.")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command
      ->add_option("--save-every", options.save_every_s,
                   "Seconds of work that being killed may cost.")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  add_report_option(*command, &arguments->report);
  command->callback([arguments, &run] { run = [arguments] { return prepare(*arguments); }; });
}

}  // namespace trireme::cli
