// trireme bench machine: what plans compute with: rates of the kernels that training runs, alone
// and with every rank busy, and what lies between the ranks.
#include <ATen/Parallel.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>
#include <fstream>

#include "trireme/base/error.h"
#include "trireme/base/version.h"
#include "trireme/cli/bench_commands.h"
#include "trireme/cli/session.h"
#include "trireme/comm/rank_env.h"
#include "trireme/device/caching_allocator.h"
#include "trireme/launch/launcher.h"
#include "trireme/plan/measure.h"
#include "trireme/train/meters.h"

namespace trireme::cli {
namespace {

struct MachineArguments {
  int ranks = 2;
  bool quick = false;
  std::string report;
};

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

std::string today() {
  char text[16];
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  std::strftime(text, sizeof(text), "%Y-%m-%d", gmtime_r(&now, &parts));
  return text;
}

// Private memory without tensors: libraries, their buffers, what they keep by shape.
int64_t process_bytes() {
  return train::process_memory().private_bytes -
         device::install_caching_allocator().stats().system_bytes;
}

void say(const plan::ComputeRates& rates) {
  using plan::Dtype, plan::Product;
  constexpr int64_t kRows = 1024, kIn = 768, kOut = 3072;
  for (const Dtype dtype : {Dtype::kFp32, Dtype::kBf16}) {
    const plan::DtypeRates& of = rates.of(dtype);
    const double flops = 2.0 * kRows * kIn * kOut;
    std::printf("%lld x %lld  %-5s %9.0f %9.0f %12.0f %11.2f %11.2f\n",
                static_cast<long long>(rates.ranks), static_cast<long long>(rates.threads),
                plan::kDtypeNames[static_cast<size_t>(dtype)],
                flops * 1e-9 / of.product_s(Product::kLinear, kRows, kIn, kOut),
                flops * 1e-9 / of.product_s(Product::kMm, kRows, kIn, kOut),
                flops * 1e-9 / of.product_s(Product::kWeightGrad, kRows, kIn, kOut),
                of.row_s(plan::RowOp::kGelu, 1 << 20) * 1e9 / (1 << 20),
                of.adamw.at(1 << 20) * 1e9 / (1 << 20));
  }
  std::fflush(stdout);
}

int machine_rank(const MachineArguments& arguments) {
  const auto world = join_world();
  const bool first = world->rank() == 0;
  const plan::MeasureOptions options{.quick = arguments.quick};
  plan::Machine machine;
  machine.cpu = cpu_name();
  machine.date = today();
  machine.version = version();
  machine.cores = static_cast<int64_t>(comm::available_cpus().size());
  machine.memory_bytes = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  if (first) {
    std::printf("ranks x threads  GFLOP/s: x W^T     x W     dy^T x   ns: gelu       adamw\n");
  }
  const auto add = [&](const plan::ComputeRates& rates) {
    if (first) say(rates);
    machine.compute.push_back(rates);
  };
  // After products of some tens of shapes, as in a run: libraries keep buffers for each.
  plan::measure_compute({.quick = true, .point_s = 0});
  machine.process_bytes = process_bytes();
  add(plan::measure_together(*world, options));
  if (world->size() > 1) machine.links = plan::measure_links(*world, options);
  if (first) {
    // Alone, while the others wait.
    for (const int64_t threads : {int64_t{1}, machine.cores}) {
      const plan::ComputeRates& before = machine.compute.front();
      if (before.ranks == 1 && before.threads == threads) continue;
      if (machine.compute.back().ranks == 1 && machine.compute.back().threads == threads) continue;
      at::set_num_threads(static_cast<int>(threads));
      add(plan::measure_compute(options));
    }
    for (const plan::Link& link : machine.links) {
      std::printf("%-8s %-15s alpha %8.1f us  %7.2f GB/s\n",
                  plan::kLinkPathNames[static_cast<size_t>(link.path)],
                  plan::kLinkOpNames[static_cast<size_t>(link.op)], link.alpha_s() * 1e6,
                  link.bytes_per_s() * 1e-9);
    }
    Report report("bench machine");
    report.config = {{"ranks", world->size()}, {"quick", arguments.quick}};
    report.world = describe(*world);
    report.metrics = machine.to_json();
    report.write(arguments.report);
  }
  world->world_group().patient_barrier("bench is over");
  return 0;
}

int bench_machine(const MachineArguments& arguments) {
  if (comm::process_environment().contains("RANK") || arguments.ranks == 1) {
    return machine_rank(arguments);
  }
  if (!arguments.report.empty()) require_writable("--report", arguments.report);
  launch::LaunchOptions options;
  options.ranks = arguments.ranks;
  options.command = {"bench", "machine"};
  if (arguments.quick) options.command.emplace_back("--quick");
  if (!arguments.report.empty()) {
    options.command.insert(options.command.end(), {"--report", arguments.report});
  }
  options.own_commands = command_names();
  return launch::launch(options);
}

}  // namespace

void add_bench_machine_command(CLI::App& bench, Run& run) {
  auto arguments = std::make_shared<MachineArguments>();
  CLI::App* command = add_command(bench, "machine",
                                  "What `trireme plan` computes with: rates of products, kernels "
                                  "and the optimiser, and the links between ranks.");
  command->add_option("--ranks", arguments->ranks, "Ranks of this host that compute together.")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_flag("--quick", arguments->quick, "Fewer sizes: seconds, and a coarser plan.");
  add_report_option(*command, &arguments->report);
  command->callback([arguments, &run] { run = [arguments] { return bench_machine(*arguments); }; });
}

}  // namespace trireme::cli
