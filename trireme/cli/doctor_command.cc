// trireme doctor: what this machine and build can do, and what is missing.
#include <ATen/ATen.h>
#include <torch/version.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <fstream>

#include "trireme/base/version.h"
#include "trireme/cli/command.h"
#include "trireme/cli/session.h"
#include "trireme/comm/flight_dump.h"
#include "trireme/comm/rank_env.h"
#include "trireme/comm/shm_segment.h"
#include "trireme/kernels/gemm.h"
#include "trireme/kernels/isa.h"

extern "C" int mkl_serv_intel_cpu_true();

namespace trireme::cli {
namespace {

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

bool processor_flag(const std::string& flag) {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("flags")) return (line + " ").find(" " + flag + " ") != std::string::npos;
  }
  return false;
}

int doctor(const std::string& report_file) {
  Report report("doctor");
  Json& facts = report.metrics;
  auto say = [&facts](const char* key, const char* label, Json value,
                      const std::string& note = "") {
    const std::string text = value.is_string() ? value.get<std::string>() : dump_json(value);
    std::printf("%-26s %s%s\n", label, text.c_str(),
                note.empty() ? "" : ("  (" + note + ")").c_str());
    facts[key] = std::move(value);
  };
  auto gflops = [](double x) { return std::llround(x); };
  say("version", "trireme", version() + " (" + commit() + ")");
  say("libtorch", "LibTorch", TORCH_VERSION);
  say("processor", "processor", processor_name());
  say("cores", "cores for this process", comm::available_cpus().size());
  say("memory_gib", "memory, GiB", sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) >> 30);
  say("isa", "row kernels", std::string(kernels::ops_table().name));
  say("avx512_bf16", "AVX512-BF16", processor_flag("avx512_bf16"));
  say("amx_bf16", "AMX-BF16", processor_flag("amx_bf16"));
  say("mkl_bf16_gemm", "MKL bf16 product", kernels::has_mkl_bf16_gemm(),
      kernels::has_mkl_bf16_gemm()
          ? ""
          : "this LibTorch has none: weight gradients and attention take ATen's products");
  const bool answer = mkl_serv_intel_cpu_true() != 0;
  say("mkl_answer", "MKL fast paths", answer,
      answer ? "TRIREME_MKL_ANSWER=0 leaves MKL its own choice" : "off by TRIREME_MKL_ANSWER=0");
  say("gemm_fp32_gflops", "fp32 product, GFLOP/s/core",
      gflops(kernels::measure_gemm_gflops(at::kFloat)));
  say("gemm_bf16_gflops", "bf16 product, GFLOP/s/core",
      gflops(kernels::measure_gemm_gflops(at::kBFloat16)),
      processor_flag("avx512_bf16")
          ? ""
          : "no bf16 instructions: train with train.precision = \"fp32\"");
  say("backends", "communication", Json::array({"shm", "gloo"}),
      "shared memory inside a host, TCP between hosts: comm.backend");
  const comm::MemoryLeft left = comm::memory_left();
  say("shared_memory_mib", "for shared buffers, MiB", left.bytes >> 20, left.limit);
  say("gpu", "GPU", "none in this build");
  report.write(report_file);
  return 0;
}

// What the dumps of a failed run say: the verdict of its survivors, and what every rank did last.
int read_flight(const std::vector<std::string>& files, const std::string& report_file) {
  std::vector<comm::FlightDump> dumps;
  for (const std::string& file : files) dumps.push_back(comm::read_flight_dump(file));
  const comm::FlightReport flight = comm::merge(dumps);
  std::printf("%s\n\nwhat every rank did last:\n", flight.verdict.c_str());
  for (const std::string& row : flight.rows) std::printf("  %s\n", row.c_str());
  if (!flight.missing.empty()) {
    const std::string ranks =
        comm::list_ranks(flight.missing, [](int rank) { return std::to_string(rank); });
    std::printf("no dump of rank %s: it died, was stuck, or its file is not given\n",
                ranks.c_str());
  }
  Report report("doctor");
  report.metrics["verdict"] = flight.verdict;
  report.metrics["last_operations"] = flight.rows;
  report.metrics["ranks_without_dump"] = flight.missing;
  report.write(report_file);
  return 0;
}

}  // namespace

void add_doctor_command(CLI::App& app, Run& run) {
  auto report = std::make_shared<std::string>();
  CLI::App* command =
      add_command(app, "doctor", "Say what this machine and build can do, and what is missing.");
  add_report_option(*command, report.get());
  auto flight = std::make_shared<std::vector<std::string>>();
  command
      ->add_option("--flight", *flight,
                   "Instead: what flight-rankN.json files, which the ranks of a failed run wrote, "
                   "say of it.")
      ->type_name("FILE...");
  command->callback([report, flight, &run] {
    run = [report, flight] {
      return flight->empty() ? doctor(*report) : read_flight(*flight, *report);
    };
  });
}

}  // namespace trireme::cli
