// trireme launch -n N -- COMMAND: ranks of a job on this host.
#include "trireme/base/clock.h"
#include "trireme/cli/command.h"
#include "trireme/cli/session.h"
#include "trireme/launch/launcher.h"

namespace trireme::cli {
namespace {

int launch_ranks(const launch::LaunchOptions& options, const std::string& report_file) {
  const SteadyClock clock;
  const Stopwatch watch(clock);
  const int code = launch::launch(options);
  Report report("launch");
  report.config = {{"ranks", options.ranks},
                   {"nodes", options.nodes},
                   {"node_rank", options.node_rank},
                   {"command", options.command}};
  report.metrics["exit_code"] = code;
  report.timings["run_s"] = watch.seconds();
  report.write(report_file);
  return code;
}

}  // namespace

void add_launch_command(CLI::App& app, Run& run) {
  auto options = std::make_shared<launch::LaunchOptions>();
  auto report = std::make_shared<std::string>();
  CLI::App* command =
      add_command(app, "launch", "Start a command as several ranks: launch -n 4 -- train run.toml");
  command->add_option("-n,--nproc-per-node", options->ranks, "Ranks on this host.")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--nnodes", options->nodes, "Hosts that run this command.")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--node-rank", options->node_rank, "This host's number, from 0.")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  command
      ->add_option("--rdzv-endpoint", options->rendezvous, "Where host 0 listens (several hosts).")
      ->type_name("HOST:PORT");
  command->add_option("--kill-after", options->kill_after_s, "Seconds between SIGTERM and SIGKILL.")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  add_report_option(*command, report.get());
  command->add_option("command", options->command, "A trireme command, or any program, behind --.")
      ->type_name("COMMAND...")
      ->required();
  command->positionals_at_end();
  command->callback([options, report, &run] {
    run = [options, report] {
      options->own_commands = command_names();
      return launch_ranks(*options, *report);
    };
  });
}

}  // namespace trireme::cli
