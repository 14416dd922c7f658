// `trireme launch`: starts the ranks of a job on this host, watches them, and ends with their exit
// code.
//
//   return launch::launch({.ranks = 4, .command = {"train", "run.toml"}});
//
// - The ranks are direct children in the launcher's own process group (Ctrl-C on a terminal
//   reaches all of them), with torchrun's environment, OMP_NUM_THREADS, and the job's store served
//   from here. They die with the launcher.
// - Rank 0 has the launcher's stdin, stdout and stderr; lines of the others are passed on behind
//   "[rank k] ".
// - A rank that fails (an exit code other than 0 and 3, or a signal) ends the job: it is named at
//   once, the others have settle_s to say what they were doing and end by themselves, then get
//   SIGTERM, and SIGKILL kill_after_s later.
// - SIGINT, SIGTERM and SIGHUP are passed on; the ranks save and exit 3, and so does the launcher.
//   They have save_within_s; a second signal ends them at once, unless it comes within 2 s of the
//   first: that is one stop, told to the process group and to the launcher. What is ignored from
//   the start stays so (nohup).
#pragma once

#include <string>
#include <vector>

#include "trireme/comm/rank_env.h"

namespace trireme::launch {

struct LaunchOptions {
  int ranks = 1;      // on this node
  int nodes = 1;      // hosts that run `trireme launch`, with the same `ranks`
  int node_rank = 0;  // this one's number
  // host:port of node 0, where the store listens. Needed for several nodes; one node: loopback and
  // a free port.
  std::string rendezvous;
  // Keeps jobs apart on one port. Default: TRIREME_JOB_TOKEN; one node: random when that is not
  // set.
  std::string token;
  // What each rank runs: a program and its arguments.
  std::vector<std::string> command;
  // First words of `command` that mean a subcommand of this very binary ("train").
  std::vector<std::string> own_commands;
  double settle_s = 1;
  double kill_after_s = 30;
  double save_within_s = 300;
};

// Runs the job. Returns its exit code: 0; 3 when the ranks stopped after saving; otherwise the code
// of the rank that failed first (1 when a signal killed it). Throws input_error for a wrong option,
// a command that cannot be run, or a port in use. Call it from the main thread.
int launch(const LaunchOptions& options);

// The environment of rank `local_rank` of this node: pure. `base` is the launcher's own
// environment.
comm::Environment rank_environment(const LaunchOptions& options, int local_rank,
                                   const std::string& master_addr, int master_port,
                                   const comm::Environment& base);

// How a rank ended, as waitpid() says it, in the order of their ends.
struct RankEnd {
  int rank = 0;
  int status = 0;
  bool failed() const;       // neither 0 nor 3
  std::string what() const;  // "exited with code 7", "was killed by signal 9 (Killed)"
};
// The exit code of the job; pure.
int job_exit_code(const std::vector<RankEnd>& ends);

}  // namespace trireme::launch
