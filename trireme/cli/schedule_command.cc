// trireme schedule: a pipeline schedule, generated or from a file, proven and shown in time.
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/report.h"
#include "trireme/cli/command.h"
#include "trireme/cli/session.h"
#include "trireme/parallel/pipeline/csv.h"
#include "trireme/parallel/pipeline/generators.h"
#include "trireme/parallel/pipeline/messages.h"
#include "trireme/parallel/pipeline/print.h"

namespace trireme::cli {
namespace {

namespace pp = parallel::pipeline;

struct ScheduleArguments {
  std::string what, csv, trace, report;
  pp::ScheduleShape shape{.stages = 4, .micro_batches = 8, .chunks_per_stage = 2};
  double forward = 1, backward = 1, weights = 1, message = 0;
};

pp::Schedule open_schedule(const ScheduleArguments& arguments) {
  constexpr std::string_view kEnd = ".csv";
  if (arguments.what.ends_with(kEnd)) {
    return pp::schedule_from_csv(read_file(arguments.what), arguments.what);
  }
  return pp::make_schedule(arguments.what, arguments.shape);
}

// As wide as the terminal, where there is one.
pp::GridOptions grid_options() {
  winsize size{};
  if (::isatty(STDOUT_FILENO) != 1) return {};
  const bool known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;
  return {.color = true, .max_columns = known ? size.ws_col : 0};
}

// Times and activations are of whole stages: a chunk of several has its part.
pp::Costs costs_of(const pp::Schedule& schedule, const ScheduleArguments& arguments) {
  const double part = schedule.stages() / static_cast<double>(schedule.chunks());
  pp::Costs costs;
  costs.chunks = {{.forward = part * arguments.forward,
                   .backward_input = part * arguments.backward,
                   .backward_weight = part * arguments.weights,
                   .activation = part,
                   .kept_for_weight = part}};
  costs.message_latency = arguments.message;
  return costs;
}

int show_schedule(const ScheduleArguments& arguments) {
  const pp::Schedule schedule = open_schedule(arguments);
  const pp::GridOptions options = grid_options();
  if (const auto fault = pp::find_fault(schedule)) {
    if (!schedule.actions.empty()) {
      std::printf("%s", pp::order_grid(schedule, &*fault, options).c_str());
    }
    pp::validate(schedule);  // throws
  }
  const pp::Simulation simulation = pp::simulate(schedule, costs_of(schedule, arguments));
  std::printf("%s", pp::time_grid(schedule, simulation, options).c_str());
  std::printf(
      "%d stages, %d chunks, %d micro-batches: %.6g from begin to end, idle %.1f %% (%.1f %% "
      "within the "
      "worst rank's own span)\n",
      schedule.stages(), schedule.chunks(), schedule.micro_batches, simulation.makespan,
      100 * simulation.bubble(), 100 * simulation.own_span_bubble());
  std::printf("activations held at most, by rank, in micro-batches of a stage:");
  for (const double peak : simulation.peak_activation) std::printf(" %.4g", peak);
  std::printf("\n");
  if (const std::string warning = pp::few_micro_batches_warning(schedule); !warning.empty()) {
    std::printf("warning: %s\n", warning.c_str());
  }
  if (!arguments.csv.empty()) write_file_atomic(arguments.csv, pp::to_csv(schedule));
  if (!arguments.trace.empty()) {
    write_file_atomic(arguments.trace,
                      dump_json(pp::chrome_trace(pp::with_messages(schedule),
                                                 {{"simulated", simulation.ranks}})));
  }
  Report report("schedule");
  report.config = {{"schedule", schedule.name},
                   {"stages", schedule.stages()},
                   {"chunks", schedule.chunks()},
                   {"micro_batches", schedule.micro_batches}};
  report.metrics = {{"makespan", simulation.makespan},
                    {"bubble", simulation.bubble()},
                    {"own_span_bubble", simulation.own_span_bubble()},
                    {"peak_activation", simulation.peak_activation}};
  report.write(arguments.report);
  return 0;
}

}  // namespace

void add_schedule_command(CLI::App& app, Run& run) {
  auto arguments = std::make_shared<ScheduleArguments>();
  CLI::App* command =
      add_command(app, "schedule",
                  "Show a pipeline schedule in time: what each rank does when, and what it holds.");
  command
      ->add_option("schedule", arguments->what,
                   "gpipe, 1f1b, interleaved, zb_h1, zbv, or a .csv file "
                   "(docs/pipeline-schedules.md).")
      ->required();
  command->add_option("--stages", arguments->shape.stages, "Ranks of the pipeline; 4.");
  command->add_option("--micro-batches", arguments->shape.micro_batches, "Of a step; 8.");
  command->add_option("--chunks", arguments->shape.chunks_per_stage,
                      "Of the model, a stage, of interleaved; 2.");
  const auto add_time = [&](const char* name, double* time, const char* help) {
    command->add_option(name, *time, help)->check(CLI::NonNegativeNumber);
  };
  add_time("--forward", &arguments->forward, "Time of a stage's forward; 1.");
  add_time("--backward", &arguments->backward,
           "Of its backward, as far as the gradient of its input; 1.");
  add_time("--weights", &arguments->weights, "Of its weights' gradients; 1.");
  add_time("--message", &arguments->message, "Of a message between ranks; 0.");
  command->add_option("--csv", arguments->csv, "Write the schedule as a file.")->type_name("FILE");
  command->add_option("--trace", arguments->trace, "Write a trace for ui.perfetto.dev.")
      ->type_name("FILE");
  add_report_option(*command, &arguments->report);
  command->callback([arguments, &run] { run = [arguments] { return show_schedule(*arguments); }; });
}

}  // namespace trireme::cli
