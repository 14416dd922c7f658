// trireme generate MODEL --prompt TEXT: a language model's continuation of a text.
#include <ATen/Parallel.h>

#include <iostream>

#include "trireme/base/clock.h"
#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/progress.h"
#include "trireme/base/utf8.h"
#include "trireme/cli/command.h"
#include "trireme/cli/session.h"
#include "trireme/comm/rank_env.h"
#include "trireme/tasks/lm_generate.h"

namespace trireme::cli {
namespace {

struct GenerateArguments {
  std::string model, prompt, prompt_file, report;
  std::string precision = "fp32";
  tasks::GenerateOptions options;
  int threads = 1;
};

const char* name_of(tasks::StopReason reason) {
  switch (reason) {
    case tasks::StopReason::kEndOfText:
      return "end of text";
    case tasks::StopReason::kMaxNewTokens:
      return "max_new_tokens";
    case tasks::StopReason::kPositions:
      return "n_positions";
  }
  return "?";
}

// Prints texts as their tokens come. What may be the beginning of a character waits for its end.
class TextStream {
 public:
  TextStream(const text::Tokenizer& tokenizer, const std::string& prompt, int64_t samples)
      : tokenizer_(tokenizer), prompt_(prompt), samples_(samples) {}

  void show(int64_t sample, std::span<const int32_t> tokens) {
    if (sample != sample_) begin(sample);
    const std::string text = tokenizer_.decode(tokens, /*skip_special=*/true);
    if (text.ends_with("\ufffd")) return;
    print_from(text);
  }
  // What is left of the last text, and the end of its line.
  void end(std::span<const int32_t> tokens) {
    print_from(tokenizer_.decode(tokens, /*skip_special=*/true));
    std::cout << std::endl;
  }

 private:
  void begin(int64_t sample) {
    if (samples_ > 1) std::cout << "=== sample " << sample + 1 << " of " << samples_ << " ===\n";
    std::cout << prompt_ << std::flush;
    sample_ = sample;
    printed_ = 0;
  }
  void print_from(const std::string& text) {
    if (text.size() <= printed_) return;
    std::cout << std::string_view(text).substr(printed_) << std::flush;
    printed_ = text.size();
  }

  const text::Tokenizer& tokenizer_;
  const std::string& prompt_;
  int64_t samples_;
  int64_t sample_ = -1;
  size_t printed_ = 0;
};

int generate(GenerateArguments& arguments) {
  if (arguments.prompt.empty() == arguments.prompt_file.empty())
    throw input_error("give --prompt TEXT or --prompt-file FILE");
  const std::string prompt =
      clean_utf8(arguments.prompt.empty() ? read_file(arguments.prompt_file) : arguments.prompt);
  at::set_num_threads(arguments.threads > 0 ? arguments.threads
                                            : static_cast<int>(comm::available_cpus().size()));
  tasks::LmModel model(resolve_model_folder(arguments.model), {});
  model.load_for_inference(parse_precision(arguments.precision));
  const std::vector<int32_t> ids = model.tokenizer().encode(prompt, {.add_special = false}).ids;

  TextStream stream(model.tokenizer(), prompt, arguments.options.num_samples);
  const SteadyClock clock;
  const Stopwatch watch(clock);
  double first_s = 0;
  int64_t of_sample = 0, tokens = 0;
  std::vector<int32_t> text;
  arguments.options.on_token = [&](int64_t sample, std::span<const int32_t> so_far) {
    if (tokens++ == 0) first_s = watch.seconds();
    if (sample != of_sample) stream.end(text);
    of_sample = sample;
    text.assign(so_far.begin(), so_far.end());
    stream.show(sample, so_far);
  };
  const auto samples = tasks::generate(model, ids, arguments.options);
  stream.end(text);
  if (!std::cout.flush()) throw run_error("standard output cannot be written");
  const double seconds = watch.seconds(),
               rate = static_cast<double>(tokens - 1) / std::max(seconds - first_s, 1e-9);
  std::cerr << tokens << " tokens, " << format_count(rate) << " tokens/s" << std::endl;

  Report report("generate");
  report.config = {{"model", arguments.model},
                   {"prompt", prompt},
                   {"precision", arguments.precision},
                   {"max_new_tokens", arguments.options.max_new_tokens},
                   {"do_sample", arguments.options.sampling.do_sample},
                   {"temperature", arguments.options.sampling.temperature},
                   {"top_k", arguments.options.sampling.top_k},
                   {"top_p", arguments.options.sampling.top_p},
                   {"seed", arguments.options.sampling.seed}};
  Json texts = Json::array();
  for (const tasks::GeneratedSample& sample : samples) {
    texts.push_back({{"text", model.tokenizer().decode(sample.tokens, /*skip_special=*/true)},
                     {"tokens", sample.tokens},
                     {"stop", name_of(sample.stop)}});
  }
  report.metrics = {{"prompt_tokens", ids.size()},
                    {"samples", std::move(texts)},
                    {"new_tokens", tokens},
                    {"tokens_per_s", rate}};
  report.timings = {{"first_token_s", first_s}, {"generate_s", seconds}};
  report.write(arguments.report);
  return 0;
}

}  // namespace

void add_generate_command(CLI::App& app, Run& run) {
  auto arguments = std::make_shared<GenerateArguments>();
  tasks::GenerateOptions& options = arguments->options;
  tasks::SamplingOptions& sampling = options.sampling;
  CLI::App* command = add_command(app, "generate", "Continue a text with a language model.");
  command->add_option("model", arguments->model, "A GPT-2 folder or a checkpoint.")
      ->type_name("MODEL")
      ->required();
  CLI::Option* prompt = command->add_option("--prompt", arguments->prompt, "The text to continue.")
                            ->type_name("TEXT");
  command->add_option("--prompt-file", arguments->prompt_file, "A file that holds it.")
      ->type_name("FILE")
      ->excludes(prompt);
  command
      ->add_option("--max-new-tokens", options.max_new_tokens, "Longest continuation, in tokens.")
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  command
      ->add_option("--num-samples,--num-return-sequences", options.num_samples,
                   "Continuations to make.")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_flag("--do-sample", sampling.do_sample,
                    "Draw tokens instead of taking the likeliest; implied by the next three.");
  std::vector<CLI::Option*> implies = {
      command
          ->add_option("--temperature", sampling.temperature,
                       "Divides the logits: below 1 the likely tokens gain, above 1 the others.")
          ->check(CLI::Range(1e-3, 1e3))
          ->capture_default_str(),
      command->add_option("--top-k", sampling.top_k, "Of the k likeliest tokens only; 0: of all.")
          ->check(CLI::NonNegativeNumber)
          ->capture_default_str(),
      command
          ->add_option("--top-p", sampling.top_p,
                       "Of as few tokens as have this share of the probability.")
          ->check(CLI::Range(0.0, 1.0))
          ->capture_default_str()};
  command->add_option("--seed", sampling.seed, "Seed of the draws.")->capture_default_str();
  command
      ->add_option("--threads", arguments->threads,
                   "Compute threads; 0: one a core, which pays for large models on idle cores.")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  add_precision_option(*command, &arguments->precision);
  add_report_option(*command, &arguments->report);
  command->callback([arguments, implies, &run] {
    for (const CLI::Option* option : implies)
      if (option->count() > 0) arguments->options.sampling.do_sample = true;
    if (arguments->options.num_samples > 1 && !arguments->options.sampling.do_sample)
      throw CLI::ValidationError("--num-samples",
                                 "several samples are all the same without "
                                 "--do-sample");
    run = [arguments] { return generate(*arguments); };
  });
}

}  // namespace trireme::cli
