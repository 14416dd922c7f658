// Subcommands of `trireme data` that have a file of their own.
#pragma once

#include "trireme/cli/command.h"

namespace trireme::cli {

void add_prepare_command(CLI::App& data, Run& run);

}  // namespace trireme::cli
