// trireme plan CONFIG: what a run will need and how fast it will be, without starting a rank.
#include <algorithm>
#include <iostream>

#include "trireme/base/error.h"
#include "trireme/cli/command.h"
#include "trireme/cli/plan_setup.h"
#include "trireme/cli/session.h"
#include "trireme/plan/search.h"
#include "trireme/train/meters.h"

namespace trireme::cli {
namespace {

struct PlanArguments {
  std::string config;
  std::vector<std::string> set;
  int64_t world = 1;
  std::string device = "machine.json";
  int64_t length = 0;
  int64_t ranks_per_host = 0;
  double memory_gb = 0;
  bool search = false;
  std::string report;
};

// Samples as long as an epoch's, or as --length says.
struct Lengths {
  std::vector<int32_t> tokens;
  int64_t data_bytes = 0;
};

Lengths lengths_of(const RunSetup& setup, int64_t length) {
  if (length > 0) {
    const int64_t samples = std::max<int64_t>(1024, 16 * setup.config.data.global_batch_samples);
    return {std::vector<int32_t>(static_cast<size_t>(samples), static_cast<int32_t>(length)), 0};
  }
  Lengths lengths;
  const int64_t before = train::process_memory().private_bytes;
  TrainedTask trained(setup);
  lengths.tokens = sample_lengths(trained.task());
  lengths.data_bytes = std::max<int64_t>(0, train::process_memory().private_bytes - before);
  return lengths;
}

int plan_run(const PlanArguments& arguments) {
  RunSetup setup(arguments.config, arguments.set);
  const plan::Machine machine = plan::read_machine(arguments.device);
  const PlannedModel model(setup);
  const Lengths lengths = lengths_of(setup, arguments.length);
  plan::PlanInput input = plan_input(setup, model, lengths.tokens, lengths.data_bytes, machine);
  input.ranks_per_host = arguments.ranks_per_host;
  const int64_t memory_bytes =
      arguments.memory_gb > 0 ? static_cast<int64_t>(arguments.memory_gb * 1e9)
                              : machine.memory_bytes / plan::ranks_per_host(input, arguments.world);
  const parallel::LayoutLimits limits{
      .layers = input.sizes.layers,
      .heads = input.sizes.heads,
      .longest_sequence = *std::max_element(lengths.tokens.begin(), lengths.tokens.end()),
      .micro_batch_tokens = setup.config.data.micro_batch_tokens};
  const parallel::Where where = [&](const std::string& key) { return setup.schema.where(key); };

  Report report("plan");
  report.config = setup.schema.to_json();
  report.world = {{"size", arguments.world},
                  {"ranks_per_host", plan::ranks_per_host(input, arguments.world)}};
  const parallel::Layout asked = parallel::fitted(setup.config.parallel, arguments.world, where);
  if (!arguments.search) {
    parallel::check_layout(asked, limits, where);
    const plan::Plan plan = plan::make_plan(input, asked);
    std::cout << plan::table(plan, input);
    if (plan.peak_rss() > memory_bytes) {
      std::cout << "that is more than the " << memory_bytes / (1 << 20)
                << " MiB of a rank; --search shows layouts that fit\n";
    }
    report.metrics = plan.to_json();
  } else {
    const plan::SearchOptions options{.world = arguments.world,
                                      .limits = limits,
                                      .memory_bytes = memory_bytes,
                                      .order = asked.order};
    const plan::Search search = plan::search_layouts(input, options);
    std::cout << plan::table(search, options);
    const auto faults = parallel::layout_faults(asked, limits);
    for (const parallel::LayoutFault& fault : faults) {
      std::cout << "the layout asked for (" << parallel::text(asked)
                << ") cannot run: " << where(fault.key) << ": " << fault.message << '\n';
    }
    report.metrics = plan::to_json(search);
    if (faults.empty()) {
      const plan::Plan plan = plan::make_plan(input, asked);
      std::cout << "the layout asked for:\n" << plan::table(plan, input);
      report.metrics["asked"] = plan.to_json();
    }
  }
  report.write(arguments.report);
  return 0;
}

}  // namespace

void add_plan_command(CLI::App& app, Run& run) {
  auto arguments = std::make_shared<PlanArguments>();
  CLI::App* command = add_command(
      app, "plan", "Memory, traffic and step time of a run's layout, before any rank is started.");
  command->add_option("config", arguments->config, "The run, as for train.")
      ->type_name("CONFIG.toml")
      ->required();
  command->add_option("--world", arguments->world, "Ranks of the run.")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  command->add_option("--set", arguments->set, "Override a key: --set parallel.tp=2")
      ->type_name("KEY=VALUE");
  command
      ->add_option("--device", arguments->device,
                   "What the machine gives: the report of `trireme bench machine`.")
      ->type_name("FILE")
      ->capture_default_str();
  command
      ->add_option("--ranks-per-host", arguments->ranks_per_host,
                   "Ranks that share a host and its memory; 0: one a core.")
      ->check(CLI::Range(0, 1 << 16))
      ->capture_default_str();
  command
      ->add_option("--length", arguments->length,
                   "Plan for samples of so many tokens instead of reading data.train.")
      ->check(CLI::Range(0, 1000000));
  command->add_flag("--search", arguments->search,
                    "Try every layout of the world; show the fastest that fit.");
  command
      ->add_option("--memory-gb", arguments->memory_gb,
                   "Memory of a rank, in 10^9 bytes (default: its share of the machine's).")
      ->check(CLI::Range(0.0, 1e6));
  add_report_option(*command, &arguments->report);
  command->callback([arguments, &run] { run = [arguments] { return plan_run(*arguments); }; });
}

}  // namespace trireme::cli
