// The `trireme` program: parses, runs one command, and turns whatever goes wrong into one line and
// an exit code (1 the run failed, 2 wrong input, 3 interrupted after saving).
#include <c10/util/Exception.h>

#include <iostream>

#include "trireme/base/error.h"
#include "trireme/base/text_distance.h"
#include "trireme/base/version.h"
#include "trireme/cli/command.h"
#include "trireme/device/caching_allocator.h"

namespace trireme::cli {
namespace {

int fail(int code, const std::string& message) {
  std::cerr << "trireme: error: " << message << std::endl;
  return code;
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

// A first word that is no command: the nearest one is named, which CLI11 does not do.
std::string unknown_command(int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-') return "";
  const std::string word = argv[1];
  const std::vector<std::string>& names = command_names();
  if (std::find(names.begin(), names.end(), word) != names.end()) return "";
  const std::string near = nearest(word, names);
  return cat("no command '", word, "'", near.empty() ? "" : cat("; did you mean '", near, "'?"),
             " (trireme --help lists them)");
}

int parse_and_run(int argc, char** argv) {
  CLI::App app{"Trireme trains and serves transformers on many processes and machines."};
  app.name("trireme");
  app.set_version_flag("--version", cat("trireme ", version(), " (", commit(), ")"));
  app.require_subcommand(1);
  app.fallthrough(false);
  Run run;
  add_bench_command(app, run);
  add_demo_command(app, run);
  add_doctor_command(app, run);
  add_data_command(app, run);
  add_launch_command(app, run);
  add_train_command(app, run);
  add_eval_command(app, run);
  add_plan_command(app, run);
  add_predict_command(app, run);
  add_generate_command(app, run);
  add_schedule_command(app, run);
  add_serve_command(app, run);
  add_import_command(app, run);
  add_export_command(app, run);
  if (const std::string message = unknown_command(argc, argv); !message.empty())
    return fail(2, message);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForAllHelp& help) {
    return app.exit(help);
  } catch (const CLI::CallForVersion& version_asked) {
    return app.exit(version_asked);
  } catch (const CLI::ParseError& error) {
    return fail(2, cat(first_line(error.what()), " (see trireme ",
                       argc > 1 && argv[1][0] != '-' ? argv[1] : "",
                       argc > 1 && argv[1][0] != '-' ? " " : "", "--help)"));
  }
  return run();
}

}  // namespace

CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& help) {
  return parent.add_subcommand(name, help);
}

const std::vector<std::string>& command_names() {
  static const std::vector<std::string> names = {
      "bench", "demo",    "doctor",   "data",     "launch", "train",  "eval",
      "plan",  "predict", "generate", "schedule", "serve",  "import", "export"};
  return names;
}

}  // namespace trireme::cli

int main(int argc, char** argv) {
  using trireme::cli::fail;
  using trireme::cli::first_line;
  trireme::device::install_caching_allocator();
  try {
    return trireme::cli::parse_and_run(argc, argv);
  } catch (const trireme::Error& error) {
    return fail(error.exit_code(), error.what());
  } catch (const c10::Error& error) {
    return fail(1, "inside LibTorch: " + first_line(error.what_without_backtrace()));
  } catch (const std::bad_alloc&) {
    return fail(1, "out of memory");
  } catch (const std::exception& error) {
    return fail(1, "unexpected: " + first_line(error.what()));
  }
}
