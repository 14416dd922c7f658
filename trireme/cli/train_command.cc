// trireme train CONFIG: one rank of a training run.
#include <iostream>
#include <optional>

#include "trireme/base/files.h"
#include "trireme/base/log.h"
#include "trireme/base/progress.h"
#include "trireme/checkpoint/folder.h"
#include "trireme/cli/command.h"
#include "trireme/cli/plan_setup.h"
#include "trireme/cli/session.h"
#include "trireme/models/weights.h"
#include "trireme/plan/holders.h"
#include "trireme/train/meters.h"
#include "trireme/train/run_layout.h"
#include "trireme/train/stop_signal.h"
#include "trireme/train/trainer.h"

namespace trireme::cli {
namespace {

struct TrainArguments {
  std::string config;
  std::vector<std::string> set;
  std::string resume;
  std::string report;
  std::string ledger;
  std::string device;
  bool print_config = false;
};

// Initial weights: the pretrained ones of model.path, the head drawn from the seed.
parallel::TensorReader open_pretrained(const io::HfFolder& folder, uint64_t seed,
                                       const std::vector<nn::UnitParams>& units) {
  const auto weights =
      std::make_shared<models::PretrainedTensors>(folder.open_tensors(), units, seed);
  log_loaded(weights->result());
  return
      [weights](const std::string& name, const at::Tensor& whole) { weights->read(name, whole); };
}

// What rank 0 says of the layout: who holds what when it begins, what came of the plan when it
// ends.
class LayoutWords {
 public:
  LayoutWords(const RunSetup& setup, const comm::World& world, const tasks::Task& task,
              const parallel::Layout& layout, const std::string& device, int64_t data_bytes)
      : model_(setup) {
    const auto units =
        layout.pp > 1 && !model_.stage_units().empty() ? model_.stage_units() : model_.units();
    holders_ =
        plan::table(plan::holders(units, compute_dtype(setup.config), layout, world.local_size()));
    if (device.empty()) return;
    machine_ = plan::read_machine(device);
    lengths_ = sample_lengths(task);
    plan::PlanInput input = plan_input(setup, model_, lengths_, data_bytes, machine_);
    input.ranks_per_host = world.local_size();
    input.threads = world.threads();
    plan_ = plan::make_plan(input, layout);
  }

  const std::string& holders() const { return holders_; }
  void add_to(const train::TrainResult& result, Report& report) const {
    if (!plan_) return;
    report.metrics["plan"] = plan_->to_json();
    std::cerr << plan::compare(*plan_, {.tokens_per_s = result.real_tokens_per_s,
                                        .peak_rss_bytes = result.peak_rss_bytes})
              << '\n';
  }

 private:
  PlannedModel model_;
  plan::Machine machine_;
  std::vector<int32_t> lengths_;
  std::string holders_;
  std::optional<plan::Plan> plan_;
};

int train(const TrainArguments& arguments) {
  RunSetup setup(arguments.config, arguments.set);
  if (arguments.print_config) {
    std::cout << setup.schema.print();
    return 0;
  }
  auto world = join_world(setup.world_options());
  if (!setup.config.comm.flight_dir.empty()) ensure_dir(setup.config.comm.flight_dir);
  const bool first = world->rank() == 0;
  const int64_t before = train::process_memory().private_bytes;
  TrainedTask trained(setup);
  const int64_t data_bytes = train::process_memory().private_bytes - before;
  tasks::Task& task = trained.task();
  const parallel::Layout layout =
      train::run_layout(setup.config, {world->size(), world->rank()}, task,
                        [&](const std::string& key) { return setup.schema.where(key); });

  std::optional<LayoutWords> words;
  if (first) {
    words.emplace(setup, *world, task, layout, arguments.device, data_bytes);
    std::cerr << words->holders();
  }

  // Only now: until here there is nothing to save, and a signal ends the process at once, also
  // while it waits for ranks that will not come.
  const train::StopSignal stop;
  train::TrainOptions options;
  options.resume = arguments.resume;
  options.stop = &stop.flag();
  options.progress = first ? &std::cerr : nullptr;
  options.progress_in_place = stderr_is_terminal();
  std::optional<AppendFile> ledger;
  if (first && !arguments.ledger.empty()) {
    ledger.emplace(arguments.ledger);
    options.on_step = [&ledger](const train::StepInfo& info) {
      ledger->write(dump_json({{"step", info.step}, {"samples", info.samples}}) + "\n");
      ledger->flush();
    };
  }
  if (!setup.config.model.path.empty()) {
    options.open_weights = [&] {
      return open_pretrained(trained.folder(), static_cast<uint64_t>(setup.config.train.seed),
                             task.units());
    };
  }
  const train::TrainResult result =
      train::train(setup.config, setup.schema.to_json(), *world, task, options);
  if (first) {
    Report report("train");
    report.config = setup.schema.to_json();
    report.world = describe(*world);
    result.add_to(report);
    words->add_to(result, report);
    report.write(arguments.report);
    std::cerr << summary(result) << std::endl;
  }
  world.reset();  // an orderly leave: peers take an end by an exception for a failure
  result.check_not_interrupted();
  return 0;
}

}  // namespace

void add_train_command(CLI::App& app, Run& run) {
  auto arguments = std::make_shared<TrainArguments>();
  CLI::App* command = add_command(app, "train",
                                  "Train a model as a TOML file says (one rank; `trireme "
                                  "launch -n N -- train ...` for several).");
  command->add_option("config", arguments->config, "The run: model, data, optimiser, layout.")
      ->type_name("CONFIG.toml")
      ->required();
  command->add_option("--set", arguments->set, "Override a key: --set train.steps=500")
      ->type_name("KEY=VALUE");
  command
      ->add_option("--resume", arguments->resume,
                   "Go on from this checkpoint, or the newest in this folder.")
      ->type_name("DIR");
  add_output_option(*command, "--ledger", &arguments->ledger,
                    "Append each step's samples to this file, one JSON line a step.");
  command
      ->add_option("--device", arguments->device,
                   "A report of `trireme bench machine`: says at the end what was planned beside "
                   "what was measured.")
      ->type_name("FILE");
  command->add_flag("--print-config", arguments->print_config,
                    "Print every key with its value and its line of help, and stop.");
  add_report_option(*command, &arguments->report);
  command->callback([arguments, &run] { run = [arguments] { return train(*arguments); }; });
}

}  // namespace trireme::cli
