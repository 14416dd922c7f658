// What survivors say and how soon, with real processes that are killed, stopped, or never come.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iomanip>
#include <sstream>

#include "tests/launch/process.h"
#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/comm/flight_dump.h"

namespace trireme::launch {
namespace {

using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;

// All ranks of a job in one reduction after the other; the last says when it is there.
class Loop {
 public:
  explicit Loop(int ranks, const comm::Environment& env = {})
      : ranks_(ranks), process_(job(ranks, {"loop-all"}, "-"), env) {}
  bool ready() {
    return within(60, [&] {
      for (int r = 0; r < ranks_; ++r) {
        if (ready_pid(process_.out(), r) == 0) {
          return false;
        }
      }
      return true;
    });
  }
  pid_t pid(int rank) const { return ready_pid(process_.out(), rank); }
  Process& process() { return process_; }

 private:
  int ranks_;
  Process process_;
};

// With each backend.
class Faults : public testing::TestWithParam<const char*> {
 protected:
  static comm::Environment with_backend(comm::Environment env = {}) {
    env["TEST_BACKEND"] = GetParam();
    return env;
  }
};
INSTANTIATE_TEST_SUITE_P(With, Faults, testing::Values("gloo", "shm"),
                         [](const auto& info) { return std::string(info.param); });

int64_t lines(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

// Lines that ranks end with ("error: ..."), without what each was in: the verdicts.
std::vector<std::string> verdicts(const std::string& err) {
  std::vector<std::string> out;
  std::istringstream text(err);
  for (std::string line; std::getline(text, line);) {
    const size_t begin = line.find("error: ");
    const size_t end = line.rfind("; rank ");
    if (begin != std::string::npos && end != std::string::npos) {
      out.push_back(line.substr(begin + 7, end - begin - 7));
    }
  }
  return out;
}

// `n` ranks say the same, this long after `start`, and one of them says what every rank did last.
void expect_one_verdict(Process& process, size_t n, Clock::time_point start, double most_s,
                        const std::string& regex) {
  ASSERT_TRUE(within(30, [&] { return verdicts(process.err()).size() >= n; })) << process.all();
  const double took = seconds_since(start);
  EXPECT_EQ(process.wait(20), 1) << process.all();
  EXPECT_LT(took, kPatience * most_s) << process.all();
  std::printf("named by all after %.2f s\n", took);
  const std::string err = process.err();
  const auto said = verdicts(err);
  EXPECT_EQ(said.size(), n) << err;
  for (const std::string& verdict : said) {
    EXPECT_EQ(verdict, said[0]) << err;
    EXPECT_THAT(verdict, ContainsRegex(regex)) << err;
  }
  const std::string header = "what every rank did last:";
  EXPECT_NE(err.find(header), std::string::npos) << err;
  EXPECT_EQ(err.find(header), err.rfind(header)) << err;
}

// Where the dumps of a job go.
class FlightFolder {
 public:
  FlightFolder() { std::filesystem::remove_all(path_); }
  ~FlightFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  // Dumps of all ranks but `without`, which has none.
  std::vector<comm::FlightDump> read(int ranks, int without = -1) const {
    std::vector<comm::FlightDump> dumps;
    for (int r = 0; r < ranks; ++r) {
      const std::string file = cat(path_, "/flight-rank", r, ".json");
      EXPECT_EQ(file_exists(file), r != without) << file;
      if (file_exists(file)) {
        dumps.push_back(comm::read_flight_dump(file));
      }
    }
    return dumps;
  }

 private:
  std::string path_ =
      (std::filesystem::temp_directory_path() / cat("trireme-flight-", getpid())).string();
};

TEST_P(Faults, AKilledRankIsNamedByAllSurvivorsWithinASecond) {
  for (const int victim : {0, 1, 3}) {
    const FlightFolder folder;
    Loop loop(4, with_backend({{"TEST_FLIGHT_DIR", folder.path()}}));
    ASSERT_TRUE(loop.ready()) << loop.process().all();
    const pid_t pid = loop.pid(victim);
    const auto start = Clock::now();
    kill(pid, SIGKILL);
    expect_one_verdict(loop.process(), 3, start, 1,
                       cat("^rank ", victim, " \\(host [^ ]*, pid ", pid, "\\) died"));
    const std::string err = loop.process().err();
    EXPECT_THAT(err, HasSubstr(cat("rank ", victim, " (pid ", pid, ") was killed by signal 9")));
    for (int r = 0; r < 4; ++r) {
      if (r != victim) {
        EXPECT_THAT(
            err,
            ContainsRegex(
                cat("error: rank ", victim, " \\(host [^ ]*, pid ", pid, "\\) died.*; rank ", r,
                    " \\(.*was in all_reduce 'step/[0-9]*' \\(#[0-9]* of world, 3.9 KiB Float\\)")))
            << err;
        EXPECT_FALSE(exists(loop.pid(r)));
      }
    }
    const auto report = comm::merge(folder.read(4, victim));
    EXPECT_EQ(report.verdict, verdicts(err)[0]);
    EXPECT_THAT(report.missing, testing::ElementsAre(victim));
    EXPECT_THAT(report.rows, testing::Contains(cat("rank ", victim, ": gone")));
  }
}

TEST_P(Faults, AStoppedRankIsNamedAtTheDeadline) {
  const FlightFolder folder;
  Loop loop(3, with_backend({{"TEST_TIMEOUT_S", "1.5"}, {"TEST_FLIGHT_DIR", folder.path()}}));
  ASSERT_TRUE(loop.ready()) << loop.process().all();
  const pid_t pid = loop.pid(1);
  const auto start = Clock::now();
  kill(pid, SIGSTOP);
  expect_one_verdict(loop.process(), 2, start, 1.5 + 1,
                     cat("^rank 1 \\(host [^ ]*, pid ", pid, "\\) is stuck.*; deadline of 1.5 s"));
  // The launcher waits a second, and (in this test) another before SIGKILL; two more for processes
  // that end on a busy machine.
  EXPECT_LT(seconds_since(start), 1.5 + 0.5 + 1 + 1 + 2) << loop.process().all();
  const std::string err = loop.process().err();
  for (const int r : {0, 2}) {
    EXPECT_THAT(err, ContainsRegex(cat("; rank ", r, " \\(.*was in all_reduce 'step/"))) << err;
  }
  EXPECT_THAT(err, AllOf(HasSubstr("exited with code 1; stopping the other ranks"),
                         HasSubstr("killed 1 rank(s)")));
  EXPECT_FALSE(exists(pid)) << "no rank and no zombie is left";
  const auto report = comm::merge(folder.read(3, 1));
  EXPECT_EQ(report.verdict, verdicts(err)[0]);
  EXPECT_THAT(report.rows, testing::Contains("rank 1: does not answer"));
}

// A job whose ranks say that they are there and then go wrong by themselves.
void expect_named(const std::vector<std::string>& mode, const std::string& backend, int ranks,
                  size_t sayers, double timeout_s, double most_s, const std::string& regex) {
  const FlightFolder folder;
  Process p(job(ranks, mode), {{"TEST_BACKEND", backend},
                               {"TEST_TIMEOUT_S", cat(timeout_s)},
                               {"TEST_FLIGHT_DIR", folder.path()}});
  ASSERT_TRUE(within(30, [&] { return ready_pid(p.out(), 0) != 0; })) << p.all();
  expect_one_verdict(p, sayers, Clock::now(), most_s, regex);
  for (int r = 0; r < ranks; ++r) {
    EXPECT_FALSE(exists(ready_pid(p.out(), r)));
  }
  const int without = sayers == static_cast<size_t>(ranks) ? -1 : ranks - 1;
  EXPECT_EQ(comm::merge(folder.read(ranks, without)).verdict, verdicts(p.err())[0]);
}

TEST_P(Faults, ARankThatSkipsACollectiveIsNamed) {
  expect_named({"skip"}, GetParam(), 3, 2, 1, 1 + 1,
               "^rank 2 .*has not reached all_reduce #2 of world: its last operation is all_reduce "
               "'first' .*; deadline of 1 s");
}

TEST_P(Faults, ARankThatLeavesACollectiveOutIsNamedWithIt) {
  expect_named({"leave-out"}, GetParam(), 3, 2, 1, 1 + 1,
               "^rank 2 .*ended in good order without all_reduce #5 of world: .*it left out "
               "all_reduce 'step/3' \\(#3 of world");
}

TEST_P(Faults, ARankWithAnotherSizeIsNamedAtOnce) {
  expect_named({"differ", "size"}, GetParam(), 3, 3, 60, 1,
               "^rank 2 .* is in all_reduce 'second' \\(#2 of world, 11.7 KiB Float\\) where rank "
               "0-1 are in all_reduce 'second' \\(#2 of world, 3.9 KiB Float\\): 11.7 KiB against "
               "3.9 KiB$");
  expect_named({"differ", "size"}, GetParam(), 2, 2, 60, 1,
               "^rank 0 \\(host .*, pid [0-9]*\\), rank 1 \\(host .*\\) differ in the same place: "
               "rank 0 is in all_reduce 'second' .*11.7 KiB against 3.9 KiB$");
}

TEST_P(Faults, ARankWithAnotherDtypeOrKindIsNamed) {
  expect_named({"differ", "dtype"}, GetParam(), 3, 3, 60, 1, "^rank 2 .*7.8 KiB against 3.9 KiB$");
  expect_named({"differ", "kind"}, GetParam(), 3, 3, 1, 1 + 1,
               "^rank 2 .* is in broadcast 'second' .*broadcast against all_reduce");
}

TEST_P(Faults, ARankThatFailsByItselfStopsTheJobAndItsErrorIsSaid) {
  const auto start = Clock::now();
  Process p(job(3, {"fail"}), with_backend());
  EXPECT_EQ(p.wait(20), 1) << p.all();
  EXPECT_LT(seconds_since(start), 10);
  EXPECT_THAT(p.err(),
              AllOf(HasSubstr("[rank 2] error: the loss is NaN\n"),
                    ContainsRegex("error: rank 2 .*stopped with an error of its own .*; rank 0 ")));
}

TEST_P(Faults, AReceiveThatIsNeverSentIsNamed) {
  Process p(job(3, {"recv"}), with_backend({{"TEST_TIMEOUT_S", "1"}}));
  EXPECT_EQ(p.wait(20), 1) << p.all();
  EXPECT_THAT(
      p.err(),
      ContainsRegex(
          "error: rank 2 .*did not come to the other side of it.*was in recv 'activations'"));
}

// Ranks started by hand: rank 0's side process serves the store.
comm::Environment by_hand(int rank, int size, int port, const std::string& addr = "127.0.0.1") {
  return {{"RANK", std::to_string(rank)},
          {"WORLD_SIZE", std::to_string(size)},
          {"MASTER_ADDR", addr},
          {"MASTER_PORT", std::to_string(port)},
          {"TEST_JOIN_TIMEOUT_S", "10"}};
}

int free_port() {
  return comm::local_port(comm::listen_on("127.0.0.1", 0, "").get());
}

// Who listens at the port, as the kernel writes it (hexadecimal); empty: nobody. Looked up, not
// tried: a connection would keep the store alive.
std::string listener(int port) {
  std::ostringstream end_of_local;
  end_of_local << ':' << std::uppercase << std::hex << std::setw(4) << std::setfill('0') << port;
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::istringstream rows(read_file(table));
    for (std::string row; std::getline(rows, row);) {
      std::string number, local, remote, state;
      std::istringstream(row) >> number >> local >> remote >> state;
      if (local.ends_with(end_of_local.str()) && state == "0A") return local;
    }
  }
  return "";
}

bool is_listening(int port) {
  return !listener(port).empty();
}

bool on_all_addresses(const std::string& listener) {
  return listener.find_first_not_of('0') == listener.find(':');
}

TEST(ByHand, TheStoreLivesInAProcessOfItsOwnAndEnds) {
  const int port = free_port();
  Process one({kRank, "sum"}, by_hand(1, 2, port));
  Process zero({kRank, "sum"}, by_hand(0, 2, port));
  EXPECT_TRUE(within(30, [&] { return is_listening(port); }));
  EXPECT_EQ(zero.wait(30), 0) << zero.all();
  EXPECT_EQ(one.wait(30), 0) << one.all();
  EXPECT_THAT(zero.out(), HasSubstr("rank 0 of 2 local 0 of 2"));
  EXPECT_THAT(one.out(), HasSubstr("rank 1 of 2 local 1 of 2"));
  EXPECT_TRUE(within(3, [&] { return !is_listening(port); }))
      << "the store's process ends with its last client";
}

// As Kubernetes' PyTorchJob does it: rank 0 is told "localhost", the others its address.
TEST(ByHand, AStoreAtLocalhostIsReachedFromOtherHosts) {
  const std::string here = comm::routable_address();
  if (comm::is_loopback(here)) GTEST_SKIP() << "this host has no address but loopback";
  const int port = free_port();
  Process zero({kRank, "loop-all"}, by_hand(0, 2, port, "localhost"));
  Process one({kRank, "loop-all"}, by_hand(1, 2, port, here));
  ASSERT_TRUE(within(30, [&] { return ready_pid(one.out(), 1) != 0; })) << one.all() << zero.all();
  EXPECT_TRUE(on_all_addresses(listener(port))) << listener(port);
  one.signal(SIGTERM);
  EXPECT_EQ(zero.wait(10), 3) << zero.all();
  EXPECT_EQ(one.wait(10), 3) << one.all();
}

TEST(ByHand, RanksOfOneHostKeepToLoopback) {
  std::vector<std::string> addresses{"127.0.0.1", "localhost"};
  if (std::filesystem::exists("/proc/net/if_inet6")) addresses.emplace_back("::1");
  for (const std::string& addr : addresses) {
    const int port = free_port();
    std::vector<std::unique_ptr<Process>> ranks;
    for (int r = 0; r < 2; ++r) {
      comm::Environment env = by_hand(r, 2, port, addr);
      env["LOCAL_RANK"] = std::to_string(r);
      env["LOCAL_WORLD_SIZE"] = "2";
      ranks.push_back(std::make_unique<Process>(std::vector<std::string>{kRank, "loop-all"}, env));
    }
    ASSERT_TRUE(within(30, [&] { return ready_pid(ranks[1]->out(), 1) != 0; }))
        << addr << ranks[0]->all() << ranks[1]->all();
    EXPECT_FALSE(on_all_addresses(listener(port))) << addr;
    ranks[0]->signal(SIGTERM);
    for (const auto& rank : ranks) EXPECT_EQ(rank->wait(10), 3) << addr << rank->all();
  }
}

TEST(ByHand, SurvivorsOfRank0NameIt) {
  const int port = free_port();
  Process one({kRank, "loop-all"}, by_hand(1, 2, port));
  Process zero({kRank, "loop-all"}, by_hand(0, 2, port));
  ASSERT_TRUE(within(30, [&] { return ready_pid(one.out(), 1) != 0; })) << one.all() << zero.all();
  const auto start = Clock::now();
  zero.signal(SIGKILL);
  EXPECT_EQ(one.wait(10), 1) << one.all();
  EXPECT_LT(seconds_since(start), 1) << one.all();
  EXPECT_THAT(one.err(),
              ContainsRegex(cat("error: rank 0 \\(host [^ ]*, pid ", zero.pid(), "\\) died")));
  EXPECT_THAT(one.err(), Not(HasSubstr("what()")));
}

TEST(ByHand, APortInUseIsAnInputError) {
  const comm::Fd other = comm::listen_on("127.0.0.1", 0, "");
  const int port = comm::local_port(other.get());
  Process zero({kRank, "sum"}, by_hand(0, 2, port));
  EXPECT_EQ(zero.wait(20), 2) << zero.all();
  EXPECT_THAT(zero.err(), AllOf(HasSubstr(cat("error: port ", port, " on 127.0.0.1 is in use")),
                                HasSubstr("MASTER_PORT")));
}

TEST(ByHand, AWrongTokenIsRefused) {
  const int port = free_port();
  comm::Environment env = by_hand(0, 2, port);
  env["TRIREME_JOB_TOKEN"] = "right";
  env["TEST_JOIN_TIMEOUT_S"] = "4";
  Process zero({kRank, "sum"}, env);
  Process none({kRank, "sum"}, by_hand(1, 2, port));
  env = by_hand(1, 2, port);
  env["TRIREME_JOB_TOKEN"] = "wrong";
  Process wrong({kRank, "sum"}, env);
  EXPECT_EQ(none.wait(20), 2) << none.all();
  EXPECT_THAT(none.err(), HasSubstr("belongs to another job: TRIREME_JOB_TOKEN is not set here"));
  EXPECT_EQ(wrong.wait(20), 2) << wrong.all();
  EXPECT_THAT(wrong.err(), HasSubstr("TRIREME_JOB_TOKEN is not that job's"));
  EXPECT_EQ(zero.wait(20), 1) << zero.all();
  EXPECT_THAT(zero.err(), HasSubstr("1 of 2 ranks did not join within 4 s: rank 1"));
  for (const Process* p : {&zero, &none, &wrong}) {
    EXPECT_EQ(lines(p->err()), 1) << p->err();
  }
}

TEST(ByHand, NobodyAnswersAtTheStore) {
  comm::Environment env = by_hand(1, 2, free_port());
  env["TEST_JOIN_TIMEOUT_S"] = "1";
  Process one({kRank, "sum"}, env);
  EXPECT_EQ(one.wait(20), 1) << one.all();
  EXPECT_THAT(one.err(), AllOf(HasSubstr("error: no store of this job answers at 127.0.0.1:"),
                               HasSubstr("MASTER_ADDR")));
}

TEST(ByHand, TwoProcessesWithOneRank) {
  const int port = free_port();
  comm::Environment env = by_hand(0, 3, port);
  env["TEST_JOIN_TIMEOUT_S"] = "4";
  Process zero({kRank, "sum"}, env);
  Process a({kRank, "sum"}, by_hand(1, 3, port));
  Process b({kRank, "sum"}, by_hand(1, 3, port));
  ASSERT_TRUE(within(20, [&] { return a.has_ended() || b.has_ended(); }));
  Process& refused = a.has_ended() ? a : b;
  EXPECT_EQ(refused.wait(1), 2) << refused.all();
  EXPECT_THAT(refused.err(), HasSubstr("two processes of this job have RANK=1"));
}

TEST(ByHand, AnUnknownInterfaceIsAnInputErrorThatListsWhatThereIs) {
  comm::Environment env = by_hand(0, 2, free_port());
  env["TEST_INTERFACE"] = "eth77";
  Process zero({kRank, "sum"}, env);
  EXPECT_EQ(zero.wait(20), 2) << zero.all();
  EXPECT_THAT(zero.err(), AllOf(HasSubstr("'eth77'"), HasSubstr("lo (127.0.0.1)")));
}

}  // namespace
}  // namespace trireme::launch
