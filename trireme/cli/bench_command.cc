// trireme bench allreduce: what an all-reduce between the ranks of this host takes, by backend and
// by where the buffers lie, beside a plain loop under the same rules.
#include <ATen/ATen.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <numeric>

#include "trireme/base/clock.h"
#include "trireme/base/error.h"
#include "trireme/cli/bench_commands.h"
#include "trireme/cli/command.h"
#include "trireme/cli/session.h"
#include "trireme/comm/plain_loop.h"
#include "trireme/comm/rank_env.h"
#include "trireme/comm/shm_group.h"
#include "trireme/launch/launcher.h"

namespace trireme::cli {
namespace {

struct AllReduceArguments {
  int ranks = 2;
  std::vector<std::string> bytes = {"4K", "64K", "1M", "32M"};
  std::vector<std::string> backends = {"gloo", "shm"};
  std::string dtype = "fp32";
  double seconds = 1;  // of timed operations, a row
  std::string pool;    // of all ranks together; empty: 8 times the last-level cache
  std::string report;
};

int64_t parse_bytes(const std::string& option, const std::string& text) {
  size_t used = 0;
  double number = 0;
  try {
    number = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  const std::string unit = text.substr(used);
  const double factor = unit.empty()                   ? 1
                        : unit == "K" || unit == "KiB" ? 1 << 10
                        : unit == "M" || unit == "MiB" ? 1 << 20
                        : unit == "G" || unit == "GiB" ? 1 << 30
                                                       : 0;
  const double bytes = number * factor;
  if (used == 0 || factor == 0 || bytes < 16 || bytes > 1e12) {
    throw input_error(option, " ", text, ": a size of 16 bytes or more, such as 65536, 64K or 32M");
  }
  return static_cast<int64_t>(bytes) / 16 * 16;
}

at::ScalarType parse_dtype(const std::string& name) {
  if (name == "fp32") return at::kFloat;
  if (name == "bf16") return at::kBFloat16;
  throw input_error("--dtype ", name, ": not one of fp32, bf16");
}

std::string size_text(int64_t bytes) {
  if (bytes >= 1 << 20 && bytes % (1 << 20) == 0) return cat(bytes >> 20, " MiB");
  if (bytes >= 1 << 10 && bytes % (1 << 10) == 0) return cat(bytes >> 10, " KiB");
  return cat(bytes, " B");
}

int64_t last_level_cache_bytes() {
  const int64_t known = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return known > 0 ? known : int64_t{32} << 20;
}

// Rules: every rank rewrites its whole buffer before an operation and reads the whole result after
// it, both untimed. Cold: the next operation takes another buffer, over a pool of 8 times the
// last-level cache for all ranks together. Hot: always the same buffer. An operation takes as long
// as on its slowest rank, from a meeting of all; a row is the median.
class Bench {
 public:
  Bench(comm::World& world, const AllReduceArguments& arguments)
      : world_(world), arguments_(arguments), dtype_(parse_dtype(arguments.dtype)) {
    std::vector<int> all(static_cast<size_t>(world.size()));
    std::iota(all.begin(), all.end(), 0);
    ranks_ = all;
    const int64_t pool = arguments.pool.empty() ? 8 * last_level_cache_bytes()
                                                : parse_bytes("--pool", arguments.pool);
    pool_bytes_ = pool / world.size();
    for (const std::string& text : arguments.bytes) {
      sizes_.push_back(parse_bytes("--bytes", text));
      pool_bytes_ = std::max(pool_bytes_, sizes_.back());
    }
    pool_bytes_ = pool_bytes_ / 64 * 64;
  }

  // A rank's buffers together.
  int64_t pool_bytes() const { return pool_bytes_; }

  Json run() {
    for (const std::string& backend : arguments_.backends) {
      const auto group = world_.make_group(ranks_, backend, backend);
      if (backend == "shm") {
        const at::Tensor pool = group->empty(pool_numel(), dtype_);
        measure(backend, "arena", pool, [&](const at::Tensor& x) { sum(*group, x); });
      }
      const at::Tensor pool = at::empty({pool_numel()}, dtype_);
      measure(backend, "staged", pool, [&](const at::Tensor& x) { sum(*group, x); });
    }
    if (world_.backend() == "shm" && dtype_ == at::kFloat) {
      // Somewhat less, so that it fits where the arena's pool was.
      const int64_t largest = *std::max_element(sizes_.begin(), sizes_.end());
      const int64_t numel = std::max(largest / 4, pool_numel() - 64);
      comm::PlainLoop loop(*world_.shm(), world_.world_group(), numel);
      const at::Tensor pool = at::from_blob(loop.pool(), {numel}, at::kFloat);
      measure("loop", "arena", pool,
              [&](const at::Tensor& x) { loop.all_reduce(x.storage_offset(), x.numel()); });
    }
    return results_;
  }

 private:
  using Operation = std::function<void(const at::Tensor&)>;

  int64_t pool_numel() const {
    return pool_bytes_ / static_cast<int64_t>(c10::elementSize(dtype_));
  }
  static void sum(comm::Group& group, const at::Tensor& x) {
    group.all_reduce(x, comm::ReduceOp::kSum, "bench")->wait();
  }

  void measure(const std::string& backend, const std::string& path, at::Tensor pool,
               const Operation& operation) {
    pool.fill_(1);
    for (const int64_t bytes : sizes_) {
      const double cold = time_us(pool, bytes, /*cold=*/true, operation);
      const double hot = time_us(pool, bytes, /*cold=*/false, operation);
      if (world_.rank() == 0) {
        std::printf("%-8s %-7s %6d %10s %-5s %12.1f %12.1f %10.2f\n", backend.c_str(), path.c_str(),
                    world_.size(), size_text(bytes).c_str(), arguments_.dtype.c_str(), cold, hot,
                    static_cast<double>(bytes) / cold / 1e3);
        std::fflush(stdout);
      }
      results_.push_back({{"backend", backend},
                          {"path", path},
                          {"ranks", world_.size()},
                          {"bytes", bytes},
                          {"dtype", arguments_.dtype},
                          {"time_us", cold},
                          {"hot_time_us", hot}});
    }
  }

  double time_us(const at::Tensor& pool, int64_t bytes, bool cold, const Operation& operation) {
    const int64_t numel = bytes / static_cast<int64_t>(c10::elementSize(dtype_));
    const int64_t buffers = pool.numel() / numel;
    std::vector<float> times;
    double spent_s = 0;
    for (int64_t i = 0;; ++i) {
      const at::Tensor x = pool.narrow(0, cold ? i % buffers * numel : 0, numel);
      x.fill_(world_.rank() + 1);
      world_.world_group().barrier("bench");
      const int64_t begin_ns = clock_.now_ns();
      operation(x);
      const double us = 1e-3 * static_cast<double>(clock_.now_ns() - begin_ns);
      check(x);
      if (i >= kWarmUp) {
        times.push_back(static_cast<float>(us));
        spent_s += us * 1e-6;
      }
      if (i % kTogether == kTogether - 1 && over(spent_s, times.size())) break;
    }
    at::Tensor slowest = at::tensor(times);
    world_.world_group().all_reduce(slowest, comm::ReduceOp::kMax, "times")->wait();
    return slowest.median().item<double>();
  }

  // The same answer on every rank.
  bool over(double spent_s, size_t count) {
    at::Tensor spent = at::full({1}, spent_s, at::kDouble);
    world_.world_group().all_reduce(spent, comm::ReduceOp::kMax, "spent")->wait();
    return spent.item<double>() >= arguments_.seconds || count >= kMost;
  }

  // Reads the whole result.
  void check(const at::Tensor& x) const {
    const double expected = world_.size() * (world_.size() + 1) / 2.0;
    if (x.min().item<double>() != expected || x.max().item<double>() != expected) {
      throw run_error("a wrong sum came out of the all-reduce");
    }
  }

  static constexpr int64_t kWarmUp = 4;
  static constexpr int64_t kTogether = 8;
  static constexpr size_t kMost = 4000;

  comm::World& world_;
  const AllReduceArguments& arguments_;
  at::ScalarType dtype_;
  SteadyClock clock_;
  std::vector<int> ranks_;
  std::vector<int64_t> sizes_;
  int64_t pool_bytes_ = 0;
  Json results_ = Json::array();
};

int bench_rank(const AllReduceArguments& arguments) {
  comm::WorldOptions options;
  options.timeout_s = 60;
  const bool shared = std::find(arguments.backends.begin(), arguments.backends.end(), "shm") !=
                      arguments.backends.end();
  options.backend = shared ? "shm" : "auto";
  const auto world = join_world(options);
  if (world->rank() == 0) {
    std::printf("%-8s %-7s %6s %10s %-5s %12s %12s %10s\n", "backend", "path", "ranks", "size",
                "type", "cold us", "hot us", "cold GB/s");
  }
  Bench bench(*world, arguments);
  const Json results = bench.run();
  if (world->rank() == 0) {
    Report report("bench allreduce");
    report.config = {{"ranks", world->size()},
                     {"bytes", arguments.bytes},
                     {"backends", arguments.backends},
                     {"dtype", arguments.dtype},
                     {"pool_bytes", bench.pool_bytes()}};
    report.world = describe(*world);
    report.metrics["results"] = results;
    report.write(arguments.report);
  }
  world->world_group().barrier("bench is over");
  return 0;
}

int bench_all_reduce(const AllReduceArguments& arguments, const std::vector<std::string>& words) {
  for (const std::string& backend : arguments.backends) {
    if (backend != "gloo" && backend != "shm") {
      throw input_error("--backends ", backend, ": not one of gloo, shm");
    }
  }
  for (const std::string& bytes : arguments.bytes) parse_bytes("--bytes", bytes);
  if (!arguments.pool.empty()) parse_bytes("--pool", arguments.pool);
  parse_dtype(arguments.dtype);
  if (comm::process_environment().contains("RANK")) return bench_rank(arguments);
  if (!arguments.report.empty()) require_writable("--report", arguments.report);
  launch::LaunchOptions options;
  options.ranks = arguments.ranks;
  options.command = words;
  options.own_commands = command_names();
  return launch::launch(options);
}

}  // namespace

void add_bench_command(CLI::App& app, Run& run) {
  CLI::App* bench = add_command(app, "bench", "Measure what this machine gives.");
  bench->require_subcommand(1);
  add_bench_machine_command(*bench, run);
  auto arguments = std::make_shared<AllReduceArguments>();
  CLI::App* command =
      add_command(*bench, "allreduce", "All-reduce between ranks of this host, cold and hot.");
  command->add_option("--ranks", arguments->ranks, "Ranks to start.")
      ->check(CLI::Range(2, 64))
      ->capture_default_str();
  command->add_option("--bytes", arguments->bytes, "Sizes: 4096, 64K, 32M.")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--backends", arguments->backends, "gloo, shm.")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--dtype", arguments->dtype, "fp32 or bf16.")->capture_default_str();
  command->add_option("--seconds", arguments->seconds, "Timed operations of a row, in seconds.")
      ->check(CLI::Range(0.01, 600.0))
      ->capture_default_str();
  command->add_option("--pool", arguments->pool,
                      "Buffers of all ranks together, which cold operations take in turn "
                      "(default: 8 times the last-level cache).");
  add_report_option(*command, &arguments->report);
  command->callback([arguments, &run] {
    run = [arguments] {
      std::vector<std::string> words = {"bench",          "allreduce", "--dtype",
                                        arguments->dtype, "--seconds", cat(arguments->seconds)};
      for (const std::string& bytes : arguments->bytes) {
        words.insert(words.end(), {"--bytes", bytes});
      }
      for (const std::string& backend : arguments->backends) {
        words.insert(words.end(), {"--backends", backend});
      }
      if (!arguments->pool.empty()) words.insert(words.end(), {"--pool", arguments->pool});
      if (!arguments->report.empty()) words.insert(words.end(), {"--report", arguments->report});
      return bench_all_reduce(*arguments, words);
    };
  });
}

}  // namespace trireme::cli
