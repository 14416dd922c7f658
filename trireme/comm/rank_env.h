// Which rank this process is, from the environment. Pure: the variables come in as a map, so it is
// tested without processes.
//
// The contract is torchrun's (RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR,
// MASTER_PORT), set by `trireme launch`, torchrun and Kubernetes' PyTorchJob and JobSet. Where RANK
// is absent: Open MPI's OMPI_COMM_WORLD_*, MPICH's PMI_*, Slurm's SLURM_* (inside a job step).
// Under these, MASTER_ADDR defaults to loopback when all ranks are on one host (Slurm: to the first
// node), and MASTER_PORT to one derived from the job's id.
//
// The ranks keep to loopback only when all of them are known to be on one host: MASTER_ADDR is a
// loopback address, and LOCAL_WORLD_SIZE is WORLD_SIZE or, where it is absent, that address is a
// number.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace trireme::comm {

using Environment = std::map<std::string, std::string>;

// Where the key-value store lives.
enum class StoreHome {
  kNone,      // world of one
  kLauncher,  // the launcher serves it (trireme launch, torchrun's agent)
  kOwn,       // rank 0 starts a process for it
};

struct RankEnv {
  int rank = 0;
  int size = 1;
  int local_rank = 0;
  int local_size = 1;
  bool local_known = false;  // the environment gave local_rank and local_size
  std::string master_addr;
  int master_port = 0;
  StoreHome store = StoreHome::kNone;
  std::string token;  // TRIREME_JOB_TOKEN
  std::string job;    // what keeps this run's keys apart from others' in a shared store (run id,
                      // restart count)
  std::string
      started_by;  // "trireme launch", "torchrun", "mpirun", "srun", "the environment", "nobody"
};

// Throws input_error that names the variable which is malformed or missing.
RankEnv parse_rank_env(const Environment& environment);

// The process's environment.
Environment process_environment();

// Cores that this process may use: its affinity mask, as ids in ascending order.
std::vector<int> available_cpus();
// The CPU bandwidth that the control group grants, in cores; 0: unlimited or unknown.
double cgroup_cpu_limit();

// Compute threads for a rank: `omp_num_threads` when it is a positive number, otherwise
// max(1, cores / sharers), cores = this rank's, cut to the control group's limit (0: none);
// `sharers` ranks, this one included, may run on the same cores. Throws input_error on a malformed
// OMP_NUM_THREADS.
int threads_per_rank(int cores, double cpu_limit, int sharers, const std::string& omp_num_threads);

}  // namespace trireme::comm
