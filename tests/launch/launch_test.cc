// The launcher with real processes: environment, output, exit codes, signals.
#include "trireme/launch/launcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/launch/process.h"
#include "trireme/base/error.h"

namespace trireme::launch {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

int exited(int code) {
  return code << 8;
}

TEST(ExitCode, Table) {
  EXPECT_EQ(job_exit_code({{0, exited(0)}, {1, exited(0)}}), 0);
  EXPECT_EQ(job_exit_code({{0, exited(3)}, {1, exited(3)}}), 3);
  EXPECT_EQ(job_exit_code({{0, exited(0)}, {1, exited(3)}}), 3);
  EXPECT_EQ(job_exit_code({{1, exited(2)}, {0, exited(1)}}), 2) << "the first failure counts";
  EXPECT_EQ(job_exit_code({{0, exited(3)}, {1, exited(1)}}), 1);
  EXPECT_EQ(job_exit_code({{1, exited(7)}, {0, SIGTERM}}), 7);
  EXPECT_EQ(job_exit_code({{1, SIGKILL}, {0, exited(1)}}), 1);
}

TEST(ExitCode, EndsInWords) {
  EXPECT_EQ((RankEnd{0, exited(7)}.what()), "exited with code 7");
  EXPECT_THAT((RankEnd{0, SIGSEGV}.what()), HasSubstr("signal 11 (Segmentation fault)"));
  EXPECT_FALSE((RankEnd{0, exited(3)}.failed()));
  EXPECT_TRUE((RankEnd{0, SIGTERM}.failed()));
}

TEST(Environment, OfARank) {
  LaunchOptions options;
  options.ranks = 2;
  options.nodes = 3;
  options.node_rank = 2;
  options.token = "t";
  const auto env =
      rank_environment(options, 1, "node0", 29500, {{"TORCHELASTIC_RUN_ID", "old"}, {"A", "b"}});
  EXPECT_EQ(env.at("RANK"), "5");
  EXPECT_EQ(env.at("WORLD_SIZE"), "6");
  EXPECT_EQ(env.at("LOCAL_RANK"), "1");
  EXPECT_EQ(env.at("LOCAL_WORLD_SIZE"), "2");
  EXPECT_EQ(env.at("A"), "b");
  EXPECT_EQ(env.count("TORCHELASTIC_RUN_ID"), 0U);
  EXPECT_GE(std::stoi(env.at("OMP_NUM_THREADS")), 1);
  EXPECT_EQ(
      rank_environment(options, 1, "node0", 1, {{"OMP_NUM_THREADS", "9"}}).at("OMP_NUM_THREADS"),
      "9");
  const comm::RankEnv parsed = comm::parse_rank_env(env);
  EXPECT_EQ(parsed.rank, 5);
  EXPECT_EQ(parsed.token, "t");
  EXPECT_EQ(parsed.store, comm::StoreHome::kLauncher);
}

std::string input_error_of(const LaunchOptions& options) {
  try {
    launch(options);
  } catch (const Error& e) {
    EXPECT_EQ(e.exit_code(), 2);
    return e.what();
  }
  return "no error";
}

TEST(Options, WrongOnesSayWhatToDo) {
  LaunchOptions o;
  EXPECT_THAT(input_error_of(o), HasSubstr("no command"));
  o.command = {"true"};
  o.ranks = 0;
  EXPECT_THAT(input_error_of(o), HasSubstr("-n"));
  o.ranks = 1;
  o.nodes = 2;
  EXPECT_THAT(input_error_of(o), HasSubstr("--rdzv-endpoint HOST:PORT"));
  o.rendezvous = "node0";
  o.token = "t";
  EXPECT_THAT(input_error_of(o), HasSubstr("--rdzv-endpoint 'node0'"));
  o.rendezvous = "node0:29500";
  o.token = "";
  EXPECT_THAT(input_error_of(o), HasSubstr("TRIREME_JOB_TOKEN"));
  o.node_rank = 2;
  EXPECT_THAT(input_error_of(o), HasSubstr("--node-rank 2"));
  LaunchOptions typo;
  typo.command = {"trian"};
  EXPECT_THAT(input_error_of(typo), AllOf(HasSubstr("'trian'"), HasSubstr("PATH")));
  typo.command = {"/nowhere/trian"};
  EXPECT_THAT(input_error_of(typo),
              AllOf(HasSubstr("'/nowhere/trian'"), HasSubstr("No such file")));
}

TEST(Launch, RanksMeetAndShareTheCores) {
  Process p(job(3, {"sum"}));
  ASSERT_EQ(p.wait(60), 0) << p.all();
  const int threads = std::max(1, static_cast<int>(comm::available_cpus().size()) / 3);
  for (const int r : {0, 1, 2}) {
    EXPECT_THAT(p.out(), HasSubstr(cat(r == 0 ? "" : cat("[rank ", r, "] "), "rank ", r,
                                       " of 3 local ", r, " of 3 threads ", threads, " sum 6\n")));
  }
}

TEST(Launch, TwoNodesMeetAtTheRendezvous) {
  const std::string rdzv =
      cat("127.0.0.1:", comm::local_port(comm::listen_on("127.0.0.1", 0, "").get()));
  comm::Environment env{{"TEST_NODES", "2"}, {"TRIREME_JOB_TOKEN", "t"}, {"TEST_NODE_RANK", "1"}};
  Process second(job(2, {"sum"}, rdzv), env);
  env["TEST_NODE_RANK"] = "0";
  Process first(job(2, {"sum"}, rdzv), env);
  EXPECT_EQ(first.wait(60), 0) << first.all();
  EXPECT_EQ(second.wait(60), 0) << second.all();
  EXPECT_THAT(first.out(), AllOf(HasSubstr("rank 0 of 4 local 0 of 2"),
                                 HasSubstr("[rank 1] rank 1 of 4 local 1 of 2")));
  EXPECT_THAT(second.out(),
              AllOf(HasSubstr("[rank 2] rank 2 of 4 local 0 of 2"), HasSubstr("sum 10\n"),
                    HasSubstr("[rank 3] rank 3 of 4 local 1 of 2")));
}

TEST(Launch, OutputOfRank0IsPassedThroughAndThatOfOthersIsPrefixed) {
  Process p(job(2, {"output"}));
  ASSERT_EQ(p.wait(30), 0) << p.all();
  EXPECT_THAT(p.out(), AllOf(HasSubstr("out 0\n"), HasSubstr("[rank 1] out 1\n"),
                             Not(HasSubstr("[rank 0]"))));
  EXPECT_THAT(p.err(), AllOf(HasSubstr("err 0\n"), HasSubstr("[rank 1] err 1\n"),
                             HasSubstr("[rank 1] unfinished\n")));
}

TEST(Launch, ExitCodesAreHonoured) {
  for (const auto& [codes, expected] : std::vector<std::pair<std::string, int>>{
           {"00", 0}, {"33", 3}, {"03", 3}, {"02", 2}, {"70", 7}, {"11", 1}}) {
    Process p(job(2, {"exit", codes}));
    EXPECT_EQ(p.wait(30), expected) << codes << p.all();
    if (expected != 0 && expected != 3) {
      EXPECT_THAT(p.err(), HasSubstr(cat("exited with code ", expected)));
    }
  }
}

TEST(Launch, OneDeadRankEndsTheJobAndTheStubbornAreKilled) {
  const auto start = Clock::now();
  Process p(job(3, {"stubborn"}));
  EXPECT_EQ(p.wait(30), 1) << p.all();
  EXPECT_GE(seconds_since(start), 2)
      << "a second to settle, one more (in this test) to obey SIGTERM";
  EXPECT_THAT(p.err(), AllOf(HasSubstr("rank 1 (pid "), HasSubstr("exited with code 1; stopping"),
                             HasSubstr("killed 2 rank(s)")));
}

TEST(Launch, APortInUseIsAnInputError) {
  const comm::Fd other = comm::listen_on("127.0.0.1", 0, "");
  const int port = comm::local_port(other.get());
  Process p(job(2, {"sum"}, cat("127.0.0.1:", port)));
  EXPECT_EQ(p.wait(30), 2) << p.all();
  EXPECT_THAT(p.err(), AllOf(HasSubstr(cat("port ", port)), HasSubstr("in use"),
                             HasSubstr("--rdzv-endpoint HOST:PORT")));
}

bool both_ready(const Process& p) {
  return within(30, [&] { return ready_pid(p.out(), 0) && ready_pid(p.out(), 1); });
}

// A job of two ranks behind another program's words.
std::vector<std::string> job_under(std::vector<std::string> program) {
  const std::vector<std::string> argv = job(2, {"loop-all"});
  program.insert(program.end(), argv.begin(), argv.end());
  return program;
}

TEST(Launch, SigtermToTheLauncherSavesAndExits3) {
  Process p(job(2, {"loop-all"}));
  ASSERT_TRUE(both_ready(p)) << p.all();
  p.signal(SIGTERM);
  EXPECT_EQ(p.wait(10), 3) << p.all();
  EXPECT_THAT(p.err(), HasSubstr("SIGTERM: waiting for the ranks to save"));
}

TEST(Launch, ASignalToTheWholeProcessGroupSavesAndExits3) {
  for (const int sig : {SIGTERM, SIGHUP}) {
    Process p(job_under({"/usr/bin/setsid"}));
    ASSERT_TRUE(both_ready(p)) << p.all();
    kill(-p.pid(), sig);
    EXPECT_EQ(p.wait(10), 3) << p.all();
  }
}

// The same, with time between the two ways that the signal takes.
TEST(Launch, ASignalThatARankHasHadAlreadyDoesNotKillIt) {
  Process p(job(2, {"loop-all"}));
  ASSERT_TRUE(both_ready(p)) << p.all();
  kill(ready_pid(p.out(), 0), SIGTERM);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  p.signal(SIGTERM);
  EXPECT_EQ(p.wait(10), 3) << p.all();
}

TEST(Launch, TimeoutTellsTheLauncherTwiceAndTheRanksThreeTimes) {
  for (int attempt = 0; attempt < 3; ++attempt) {
    Process p(job_under({"/usr/bin/timeout", "60"}));
    ASSERT_TRUE(both_ready(p)) << p.all();
    p.signal(SIGTERM);
    EXPECT_EQ(p.wait(10), 3) << p.all();
    EXPECT_THAT(p.err(), Not(HasSubstr("killing the ranks")));
  }
}

TEST(Launch, NohupOutlivesAHangUp) {
  Process p(job_under({"/usr/bin/setsid", "/usr/bin/nohup"}));
  ASSERT_TRUE(both_ready(p)) << p.all();
  kill(-p.pid(), SIGHUP);
  EXPECT_EQ(p.wait(1), -1) << p.all();
  p.signal(SIGTERM);
  EXPECT_EQ(p.wait(10), 3) << p.all();
}

TEST(Launch, OnlyALaterSecondSignalKillsTheRanks) {
  Process p(job(1, {"stubborn"}));
  ASSERT_TRUE(within(30, [&] { return ready_pid(p.out(), 0) != 0; })) << p.all();
  p.signal(SIGTERM);
  ASSERT_TRUE(
      within(5, [&] { return p.err().find("waiting for the ranks") != std::string::npos; }));
  p.signal(SIGTERM);
  EXPECT_EQ(p.wait(2.1), -1) << p.all();
  p.signal(SIGTERM);
  EXPECT_EQ(p.wait(5), 1) << p.all();
  EXPECT_THAT(p.err(), HasSubstr("a second signal: killing the ranks"));
}

TEST(Launch, SigtermToOneRankStopsAllAndExits3) {
  Process p(job(2, {"loop-all"}));
  ASSERT_TRUE(both_ready(p)) << p.all();
  kill(ready_pid(p.out(), 1), SIGTERM);
  EXPECT_EQ(p.wait(10), 3) << p.all();
}

TEST(Launch, SigintIsPassedOn) {
  Process p(job(2, {"loop-all"}));
  ASSERT_TRUE(both_ready(p)) << p.all();
  const pid_t rank1 = ready_pid(p.out(), 1);
  p.signal(SIGINT);
  EXPECT_EQ(p.wait(10), 3) << p.all();
  EXPECT_FALSE(exists(rank1));
}

TEST(Launch, RanksDieWithTheLauncher) {
  Process p(job(2, {"loop-all"}));
  ASSERT_TRUE(both_ready(p)) << p.all();
  const pid_t ranks[] = {ready_pid(p.out(), 0), ready_pid(p.out(), 1)};
  p.signal(SIGKILL);
  EXPECT_EQ(p.wait(10), 128 + SIGKILL);
  for (const pid_t rank : ranks) {
    EXPECT_TRUE(within(5, [&] { return !exists(rank); }));
  }
}

}  // namespace
}  // namespace trireme::launch
