#include "trireme/comm/rank_env.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trireme/base/error.h"

namespace trireme::comm {
namespace {

using testing::AllOf;
using testing::HasSubstr;

std::string error_of(const Environment& env) {
  try {
    parse_rank_env(env);
  } catch (const Error& e) {
    EXPECT_EQ(e.exit_code(), 2);
    return e.what();
  }
  return "no error";
}

const Environment kTwo{{"RANK", "1"},
                       {"WORLD_SIZE", "4"},
                       {"LOCAL_RANK", "1"},
                       {"LOCAL_WORLD_SIZE", "2"},
                       {"MASTER_ADDR", "10.0.0.1"},
                       {"MASTER_PORT", "29500"}};

Environment with(Environment env, const std::string& name, const std::string& value) {
  env[name] = value;
  return env;
}

TEST(RankEnv, NobodyStartedItIsAWorldOfOne) {
  const RankEnv env = parse_rank_env({{"PATH", "/bin"}});
  EXPECT_EQ(env.rank, 0);
  EXPECT_EQ(env.size, 1);
  EXPECT_EQ(env.store, StoreHome::kNone);
  EXPECT_EQ(env.started_by, "nobody");
}

TEST(RankEnv, TorchrunsContract) {
  const RankEnv env = parse_rank_env(kTwo);
  EXPECT_EQ(env.rank, 1);
  EXPECT_EQ(env.size, 4);
  EXPECT_EQ(env.local_rank, 1);
  EXPECT_EQ(env.local_size, 2);
  EXPECT_TRUE(env.local_known);
  EXPECT_EQ(env.master_addr, "10.0.0.1");
  EXPECT_EQ(env.master_port, 29500);
  EXPECT_EQ(env.store, StoreHome::kOwn);
}

TEST(RankEnv, TorchrunsAgentServesTheStoreAndEachAttemptHasItsKeys) {
  Environment env = with(kTwo, "TORCHELASTIC_USE_AGENT_STORE", "True");
  env["TORCHELASTIC_RUN_ID"] = "job7";
  env["TORCHELASTIC_RESTART_COUNT"] = "2";
  EXPECT_EQ(parse_rank_env(env).store, StoreHome::kLauncher);
  EXPECT_EQ(parse_rank_env(env).started_by, "torchrun");
  EXPECT_EQ(parse_rank_env(env).job, "job7.2");
}

TEST(RankEnv, OwnLauncher) {
  Environment env = with(kTwo, "TRIREME_STORE", "launcher");
  env["TRIREME_JOB_TOKEN"] = "secret";
  EXPECT_EQ(parse_rank_env(env).store, StoreHome::kLauncher);
  EXPECT_EQ(parse_rank_env(env).started_by, "trireme launch");
  EXPECT_EQ(parse_rank_env(env).token, "secret");
}

TEST(RankEnv, LocalRanksMayBeUnknown) {
  Environment env = kTwo;
  env.erase("LOCAL_RANK");
  env.erase("LOCAL_WORLD_SIZE");
  EXPECT_FALSE(parse_rank_env(env).local_known);
}

TEST(RankEnv, MalformedValuesNameTheVariable) {
  EXPECT_THAT(error_of(with(kTwo, "RANK", "one")),
              AllOf(HasSubstr("RANK='one'"), HasSubstr("0 to 3")));
  EXPECT_THAT(error_of(with(kTwo, "RANK", "4")), HasSubstr("RANK='4'"));
  EXPECT_THAT(error_of(with(kTwo, "RANK", "-1")), HasSubstr("RANK='-1'"));
  EXPECT_THAT(error_of(with(kTwo, "WORLD_SIZE", "0")), HasSubstr("WORLD_SIZE='0'"));
  EXPECT_THAT(error_of(with(kTwo, "WORLD_SIZE", "4x")), HasSubstr("WORLD_SIZE='4x'"));
  EXPECT_THAT(error_of(with(kTwo, "WORLD_SIZE", "99999999999")), HasSubstr("WORLD_SIZE"));
  EXPECT_THAT(error_of(with(kTwo, "LOCAL_RANK", "2")), HasSubstr("LOCAL_RANK='2'"));
  EXPECT_THAT(error_of(with(kTwo, "LOCAL_WORLD_SIZE", "5")), HasSubstr("LOCAL_WORLD_SIZE='5'"));
  EXPECT_THAT(error_of(with(kTwo, "MASTER_PORT", "70000")), HasSubstr("MASTER_PORT='70000'"));
}

TEST(RankEnv, MissingVariablesAreNamed) {
  for (const char* name : {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}) {
    Environment env = kTwo;
    env.erase(name);
    EXPECT_THAT(error_of(env), AllOf(HasSubstr(name), HasSubstr("not set")));
  }
}

const Environment kMpi{{"OMPI_COMM_WORLD_RANK", "1"},
                       {"OMPI_COMM_WORLD_SIZE", "2"},
                       {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                       {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                       {"PMIX_NAMESPACE", "1234567"}};

TEST(RankEnv, OpenMpiOnOneHostMeetsOnLoopback) {
  const RankEnv env = parse_rank_env(kMpi);
  EXPECT_EQ(env.rank, 1);
  EXPECT_EQ(env.size, 2);
  EXPECT_EQ(env.local_rank, 1);
  EXPECT_EQ(env.master_addr, "127.0.0.1");
  EXPECT_GE(env.master_port, 20000);
  EXPECT_LT(env.master_port, 32768);
  EXPECT_EQ(env.store, StoreHome::kOwn);
  EXPECT_EQ(parse_rank_env(with(kMpi, "OMPI_COMM_WORLD_RANK", "0")).master_port, env.master_port);
  EXPECT_NE(parse_rank_env(with(kMpi, "PMIX_NAMESPACE", "1234568")).master_port, env.master_port);
  EXPECT_EQ(parse_rank_env(with(kMpi, "MASTER_PORT", "4444")).master_port, 4444);
}

TEST(RankEnv, OpenMpiOnSeveralHostsNeedsAnAddress) {
  EXPECT_THAT(error_of(with(kMpi, "OMPI_COMM_WORLD_SIZE", "4")), HasSubstr("MASTER_ADDR"));
  Environment env = with(kMpi, "OMPI_COMM_WORLD_SIZE", "4");
  env["MASTER_ADDR"] = "node0";
  EXPECT_EQ(parse_rank_env(env).master_addr, "node0");
}

TEST(RankEnv, MpiWithoutJobIdNeedsAPort) {
  Environment env = kMpi;
  env.erase("PMIX_NAMESPACE");
  EXPECT_THAT(error_of(env), HasSubstr("MASTER_PORT"));
}

TEST(RankEnv, SlurmStepButNotABatchScript) {
  const Environment step{
      {"SLURM_PROCID", "3"},        {"SLURM_NTASKS", "4"},
      {"SLURM_LOCALID", "1"},       {"SLURM_STEP_ID", "0"},
      {"SLURM_JOB_ID", "77"},       {"SLURM_STEP_NODELIST", "node[03-04,9],other"},
      {"SLURM_STEP_NUM_NODES", "2"}};
  const RankEnv env = parse_rank_env(step);
  EXPECT_EQ(env.rank, 3);
  EXPECT_EQ(env.size, 4);
  EXPECT_FALSE(env.local_known);
  EXPECT_EQ(env.master_addr, "node03");
  EXPECT_EQ(env.started_by, "srun");
  EXPECT_EQ(parse_rank_env(with(step, "SLURM_STEP_NODELIST", "a1,b2")).master_addr, "a1");
  EXPECT_EQ(parse_rank_env(with(step, "SLURM_STEP_NUM_NODES", "1")).master_addr, "127.0.0.1");

  EXPECT_EQ(parse_rank_env(with(step, "SLURM_STEP_ID", "4294967291")).size, 1);
  Environment batch = step;
  batch.erase("SLURM_STEP_ID");
  EXPECT_EQ(parse_rank_env(batch).size, 1);
}

TEST(Threads, CoresAreShared) {
  EXPECT_EQ(threads_per_rank(8, 0, 2, ""), 4);
  EXPECT_EQ(threads_per_rank(8, 0, 3, ""), 2);
  EXPECT_EQ(threads_per_rank(2, 0, 4, ""), 1);
  EXPECT_EQ(threads_per_rank(64, 3.5, 2, ""), 2);
  EXPECT_EQ(threads_per_rank(64, 0.5, 1, ""), 1);
}

TEST(Threads, OmpNumThreadsDecides) {
  EXPECT_EQ(threads_per_rank(8, 0, 2, "7"), 7);
  EXPECT_EQ(threads_per_rank(8, 0, 2, "3,2"), 3);
  EXPECT_THROW(threads_per_rank(8, 0, 2, "many"), Error);
  EXPECT_THROW(threads_per_rank(8, 0, 2, "0"), Error);
}

TEST(Threads, ThisProcessHasCores) {
  EXPECT_FALSE(available_cpus().empty());
}

}  // namespace
}  // namespace trireme::comm
