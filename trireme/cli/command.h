// Subcommands: one file each, added to the CLI11 application by add_X_command(). Parsing only
// remembers what to do; main() then runs it, with one place for errors.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

namespace trireme::cli {

// What was asked for; returns the exit code.
using Run = std::function<int()>;

// A subcommand of `parent`, which is the program or another subcommand. Commands are made through
// this alone: a file that makes a CLI::App itself compiles more of CLI11 (10.2 s instead of 8.6 s).
CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& help);

void add_bench_command(CLI::App& app, Run& run);
void add_data_command(CLI::App& app, Run& run);
void add_demo_command(CLI::App& app, Run& run);
void add_doctor_command(CLI::App& app, Run& run);
void add_eval_command(CLI::App& app, Run& run);
void add_export_command(CLI::App& app, Run& run);
void add_generate_command(CLI::App& app, Run& run);
void add_import_command(CLI::App& app, Run& run);
void add_launch_command(CLI::App& app, Run& run);
void add_plan_command(CLI::App& app, Run& run);
void add_predict_command(CLI::App& app, Run& run);
void add_schedule_command(CLI::App& app, Run& run);
void add_serve_command(CLI::App& app, Run& run);
void add_train_command(CLI::App& app, Run& run);

// Names of all subcommands, for `launch -- train ...` and for messages.
const std::vector<std::string>& command_names();

}  // namespace trireme::cli
