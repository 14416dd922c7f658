// Subcommands of `trireme bench` that have a file of their own.
#pragma once

#include "trireme/cli/command.h"

namespace trireme::cli {

void add_bench_machine_command(CLI::App& bench, Run& run);

}  // namespace trireme::cli
