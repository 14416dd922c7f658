// One rank of a small job, as a process: comm_rank MODE [ARGUMENT]. Prints what tests look at;
// errors go to stderr as one line, "error: ..."; exit codes are those of trireme.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <map>
#include <string>
#include <thread>

#include "trireme/base/error.h"
#include "trireme/comm/world.h"
#include "trireme/train/stop_signal.h"

namespace {

using namespace trireme;
using comm::ReduceOp;
using comm::World;

double env_number(const char* name, double otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtod(text, nullptr);
}

comm::WorldOptions options() {
  comm::WorldOptions o;
  o.timeout_s = env_number("TEST_TIMEOUT_S", 60);
  o.join_timeout_s = env_number("TEST_JOIN_TIMEOUT_S", 30);
  if (const char* name = std::getenv("TEST_INTERFACE")) {
    o.interface = name;
  }
  if (const char* backend = std::getenv("TEST_BACKEND")) {
    o.backend = backend;
  }
  if (const char* folder = std::getenv("TEST_FLIGHT_DIR")) {
    o.flight_dir = folder;
  }
  return o;
}

double sum_over_ranks(World& world, double mine, const char* tag) {
  at::Tensor x = at::full({1000}, mine, at::kFloat);
  world.world_group().all_reduce(x, ReduceOp::kSum, tag)->wait();
  return x[999].item<double>();
}

void say_ready(int rank) {
  std::printf("ready %d %d\n", rank, getpid());
  std::fflush(stdout);
}

// Sums 1 .. size, prints one line.
int sum(World& world) {
  const double total = sum_over_ranks(world, world.rank() + 1, "sum");
  std::printf("rank %d of %d local %d of %d threads %d sum %g\n", world.rank(), world.size(),
              world.local_rank(), world.local_size(), world.threads(), total);
  return 0;
}

// All-reduces until something happens; the last rank says that it is there, all do when told by
// `everyone`.
int loop(World& world, const std::atomic<bool>& stop, bool everyone) {
  for (int step = 0;; ++step) {
    // A flag travels with the reduction, as in the trainer: all ranks stop at the same step.
    if (sum_over_ranks(world, stop ? 1 : 0, cat("step/", step).c_str()) > 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(300));  // a checkpoint takes its time
      return 3;
    }
    if (step == 3 && (everyone || world.rank() == world.size() - 1)) {
      say_ready(world.rank());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

// All ranks but the last go on to a reduction that it never reaches.
int skip(World& world) {
  sum_over_ranks(world, 1, "first");
  say_ready(world.rank());
  if (world.rank() == world.size() - 1) {
    std::this_thread::sleep_for(std::chrono::seconds(30));
    return 0;
  }
  sum_over_ranks(world, 1, "second");
  return 0;
}

// The last rank leaves one reduction out and goes on; the others find it one behind at the end.
int leave_out(World& world) {
  say_ready(world.rank());
  for (int step = 1; step <= 5; ++step) {
    if (step == 3 && world.rank() == world.size() - 1) continue;
    sum_over_ranks(world, 1, cat("step/", step).c_str());
  }
  return 0;
}

// The last rank's second operation is another: of another size ("size"), dtype ("dtype") or kind
// ("kind") than that of the others.
int differ(World& world, const std::string& how) {
  sum_over_ranks(world, 1, "first");
  say_ready(world.rank());
  const bool odd = world.rank() == world.size() - 1;
  const int64_t n = odd && how == "size" ? 3000 : 1000;
  at::Tensor x = at::ones({n}, odd && how == "dtype" ? at::kDouble : at::kFloat);
  if (odd && how == "kind") {
    world.world_group().broadcast(x, 0, "second")->wait();
  } else {
    world.world_group().all_reduce(x, ReduceOp::kSum, "second")->wait();
  }
  sum_over_ranks(world, 1, "third");
  return 0;
}

// The last rank throws; the others wait for it.
int fail(World& world) {
  if (world.rank() == world.size() - 1) {
    throw run_error("the loss is NaN");
  }
  sum_over_ranks(world, 1, "loss");
  return 0;
}

// The last rank never sends.
int receive(World& world) {
  if (world.rank() == 0) {
    world.world_group().recv(at::empty({4}), world.size() - 1, "activations")->wait();
    return 0;
  }
  std::this_thread::sleep_for(std::chrono::seconds(30));
  return 0;
}

int run(const std::string& mode, const std::string& argument) {
  const train::StopSignal stop;
  if (mode == "exit") {  // "code,code,...": by rank, without a world
    const auto rank = static_cast<size_t>(env_number("RANK", 0));
    return argument[rank] - '0';
  }
  if (mode == "stubborn") {  // ignores what it can
    std::signal(SIGTERM, SIG_IGN);
    if (env_number("RANK", 0) == 1) {
      return 1;
    }
    say_ready(static_cast<int>(env_number("RANK", 0)));
    for (;;) {
      pause();
    }
  }
  if (mode == "output") {
    std::printf("out %s\n", std::getenv("RANK"));
    std::fprintf(stderr, "err %s\nunfinished", std::getenv("RANK"));
    return 0;
  }
  const auto world = World::from_env(options());
  const std::map<std::string, std::function<int()>> modes{
      {"sum", [&] { return sum(*world); }},
      {"loop", [&] { return loop(*world, stop.flag(), false); }},
      {"loop-all", [&] { return loop(*world, stop.flag(), true); }},
      {"skip", [&] { return skip(*world); }},
      {"leave-out", [&] { return leave_out(*world); }},
      {"differ", [&] { return differ(*world, argument); }},
      {"fail", [&] { return fail(*world); }},
      {"recv", [&] { return receive(*world); }},
  };
  const auto it = modes.find(mode);
  if (it == modes.end()) {
    throw input_error("comm_rank: no mode '", mode, "'");
  }
  return it->second();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc > 1 ? argv[1] : "sum", argc > 2 ? argv[2] : "");
  } catch (const trireme::Error& e) {
    std::fprintf(stderr, "error: %s\n", e.what());
    return e.exit_code();
  }
}
