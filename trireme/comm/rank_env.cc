#include "trireme/comm/rank_env.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <optional>

#include "trireme/base/error.h"

namespace trireme::comm {
namespace {

constexpr int kFirstDerivedPort = 20000;  // below the range that the kernel hands out by itself
constexpr int kDerivedPorts = 12768;

std::optional<std::string> find(const Environment& env, const std::string& name) {
  const auto it = env.find(name);
  if (it == env.end() || it->second.empty()) {
    return std::nullopt;
  }
  return it->second;
}

int number(const Environment& env, const std::string& name, int least, int most) {
  const auto text = find(env, name);
  if (!text) {
    throw input_error(
        "environment variable ", name,
        " is not set; RANK, WORLD_SIZE, MASTER_ADDR and "
        "MASTER_PORT go together: start the ranks with trireme launch, torchrun, mpirun or srun");
  }
  int value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || value < least || value > most) {
    throw input_error("environment variable ", name, "='", *text, "': expected a number from ",
                      least, " to ", most);
  }
  return value;
}

constexpr int kMaxRanks = 1 << 20;

// What a kind of launcher calls things.
struct Names {
  const char* started_by;
  const char* rank;
  const char* size;
  const char* local_rank;
  const char* local_size;
  std::vector<const char*> job_ids;
};

const Names kTorchrun{"the environment",  "RANK", "WORLD_SIZE", "LOCAL_RANK",
                      "LOCAL_WORLD_SIZE", {}};
const Names kOpenMpi{"mpirun",
                     "OMPI_COMM_WORLD_RANK",
                     "OMPI_COMM_WORLD_SIZE",
                     "OMPI_COMM_WORLD_LOCAL_RANK",
                     "OMPI_COMM_WORLD_LOCAL_SIZE",
                     {"PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"}};
const Names kMpich{"mpirun",          "PMI_RANK",        "PMI_SIZE",
                   "MPI_LOCALRANKID", "MPI_LOCALNRANKS", {"PMI_JOBID", "PMI_ID"}};
const Names kSlurm{"srun",          "SLURM_PROCID",          "SLURM_NTASKS",
                   "SLURM_LOCALID", "SLURM_NTASKS_PER_NODE", {"SLURM_JOB_ID", "SLURM_JOBID"}};

// A batch script also sees SLURM_PROCID=0: only a numbered step of srun is a start of ranks.
bool in_slurm_step(const Environment& env) {
  const auto step = find(env, "SLURM_STEP_ID");
  return step && step->size() < 8 && step->find_first_not_of("0123456789") == std::string::npos;
}

const Names* who_started(const Environment& env) {
  if (find(env, "RANK") || find(env, "WORLD_SIZE")) {
    return &kTorchrun;
  }
  for (const Names* names : {&kOpenMpi, &kMpich}) {
    if (find(env, names->rank) && find(env, names->size)) {
      return names;
    }
  }
  return in_slurm_step(env) && find(env, kSlurm.rank) ? &kSlurm : nullptr;
}

// First host of Slurm's list: "node[03-05,9],other" -> "node03".
std::string first_slurm_host(const std::string& list) {
  const size_t bracket = list.find('[');
  const size_t comma = list.find(',');
  if (bracket == std::string::npos || comma < bracket) {
    return list.substr(0, comma);
  }
  const size_t end = list.find_first_of("-,]", bracket);
  return list.substr(0, bracket) + list.substr(bracket + 1, end - bracket - 1);
}

int derived_port(const std::string& job) {
  uint32_t hash = 2166136261U;  // FNV-1a: the same on every rank
  for (const char c : job) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  }
  return kFirstDerivedPort + static_cast<int>(hash % kDerivedPorts);
}

void read_local(const Environment& env, const Names& names, RankEnv& out) {
  out.local_known = find(env, names.local_rank) && find(env, names.local_size);
  if (!out.local_known) {
    return;
  }
  out.local_size = number(env, names.local_size, 1, out.size);
  out.local_rank = number(env, names.local_rank, 0, out.local_size - 1);
}

// Where rank 0's store is when the launcher did not say.
void derive_master(const Environment& env, const Names& names, RankEnv& out) {
  for (const char* id : names.job_ids) {
    if (out.job.empty()) {
      out.job = find(env, id).value_or("");
    }
  }
  if (const auto addr = find(env, "MASTER_ADDR")) {
    out.master_addr = *addr;
  } else if (const auto nodes = find(env, "SLURM_STEP_NODELIST"); nodes && &names == &kSlurm) {
    out.master_addr = find(env, "SLURM_STEP_NUM_NODES").value_or("") == "1"
                          ? "127.0.0.1"
                          : first_slurm_host(*nodes);
  } else if (out.local_known && out.local_size == out.size) {
    out.master_addr = "127.0.0.1";
  } else {
    throw input_error(
        "environment variable MASTER_ADDR is not set and the ranks are on several hosts: set it to "
        "an address of rank 0's host (mpirun: -x MASTER_ADDR=HOST)");
  }
  if (find(env, "MASTER_PORT")) {
    out.master_port = number(env, "MASTER_PORT", 1, 65535);
  } else if (!out.job.empty()) {
    out.master_port = derived_port(out.job);
  } else {
    throw input_error(
        "environment variable MASTER_PORT is not set and ", names.started_by,
        " gives no job id to derive one from: set it to a free port, the same for all ranks");
  }
}

}  // namespace

RankEnv parse_rank_env(const Environment& environment) {
  RankEnv out;
  out.token = find(environment, "TRIREME_JOB_TOKEN").value_or("");
  const Names* names = who_started(environment);
  if (names == nullptr) {
    out.started_by = "nobody";
    return out;
  }
  out.started_by = names->started_by;
  out.size = number(environment, names->size, 1, kMaxRanks);
  out.rank = number(environment, names->rank, 0, out.size - 1);
  read_local(environment, *names, out);
  if (out.size == 1) {
    out.local_known = true;
    return out;
  }
  out.store = StoreHome::kOwn;
  if (names != &kTorchrun) {
    derive_master(environment, *names, out);
    return out;
  }
  const auto addr = find(environment, "MASTER_ADDR");
  if (!addr) {
    throw input_error(
        "environment variable MASTER_ADDR is not set: set it to an address of rank 0's host");
  }
  out.master_addr = *addr;
  out.master_port = number(environment, "MASTER_PORT", 1, 65535);
  if (find(environment, "TRIREME_STORE").value_or("") == "launcher") {
    out.started_by = "trireme launch";
    out.store = StoreHome::kLauncher;
  } else if (find(environment, "TORCHELASTIC_USE_AGENT_STORE").value_or("") == "True") {
    out.started_by = "torchrun";
    out.store = StoreHome::kLauncher;
  }
  // torchrun's store outlives a restart of the ranks: each attempt has its own keys.
  if (const auto run = find(environment, "TORCHELASTIC_RUN_ID");
      run && out.started_by != "trireme launch") {
    out.job = *run + "." + find(environment, "TORCHELASTIC_RESTART_COUNT").value_or("0");
  }
  return out;
}

Environment process_environment() {
  Environment out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string::npos) {
      out.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
  }
  return out;
}

std::vector<int> available_cpus() {
  constexpr int kMaxCpus = 8192;
  cpu_set_t* set = CPU_ALLOC(kMaxCpus);
  const size_t bytes = CPU_ALLOC_SIZE(kMaxCpus);
  CPU_ZERO_S(bytes, set);
  std::vector<int> out;
  if (sched_getaffinity(0, bytes, set) == 0) {
    for (int cpu = 0; cpu < kMaxCpus; ++cpu) {
      if (CPU_ISSET_S(cpu, bytes, set)) {
        out.push_back(cpu);
      }
    }
  }
  CPU_FREE(set);
  return out;
}

double cgroup_cpu_limit() {
  std::ifstream v2("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (v2 >> quota >> period && quota != "max" && period > 0) {
    return std::strtod(quota.c_str(), nullptr) / period;
  }
  double quota_us = 0;
  std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
  std::ifstream v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
  if (v1_quota >> quota_us && v1_period >> period && quota_us > 0 && period > 0) {
    return quota_us / period;
  }
  return 0;
}

int threads_per_rank(int cores, double cpu_limit, int sharers, const std::string& omp_num_threads) {
  if (!omp_num_threads.empty()) {
    // OpenMP allows a list by nesting level: the first is ours.
    const std::string first = omp_num_threads.substr(0, omp_num_threads.find(','));
    return number({{"OMP_NUM_THREADS", first}}, "OMP_NUM_THREADS", 1, 4096);
  }
  double usable = cores;
  if (cpu_limit > 0) {
    usable = std::min(usable, std::ceil(cpu_limit));
  }
  return std::max(1, static_cast<int>(usable) / std::max(1, sharers));
}

}  // namespace trireme::comm
