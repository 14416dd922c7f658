// trireme launch -n N -- COMMAND: ranks of a job on this host.
#include "trireme/cli/command.h"
#include "trireme/launch/launcher.h"

namespace trireme::cli {

void add_launch_command(CLI::App& app, Run& run) {
  auto options = std::make_shared<launch::LaunchOptions>();
  CLI::App* command = app.add_subcommand(
      "launch", "Start a command as several ranks: launch -n 4 -- train run.toml");
  command->add_option("-n,--nproc-per-node", options->ranks, "Ranks on this host.")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command->add_option("--nnodes", options->nodes, "Hosts that run this command.")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--node-rank", options->node_rank, "This host's number, from 0.")
      ->capture_default_str();
  command
      ->add_option("--rdzv-endpoint", options->rendezvous, "Where host 0 listens (several hosts).")
      ->type_name("HOST:PORT");
  command->add_option("--kill-after", options->kill_after_s, "Seconds between SIGTERM and SIGKILL.")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  command->add_option("command", options->command, "A trireme command, or any program, behind --.")
      ->type_name("COMMAND...")
      ->required();
  command->positionals_at_end();
  command->callback([options, &run] {
    run = [options] {
      options->own_commands = command_names();
      return launch::launch(*options);
    };
  });
}

}  // namespace trireme::cli
