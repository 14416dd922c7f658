#include "trireme/comm/flight_dump.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/base/test_util.h"
#include "trireme/base/files.h"

namespace trireme::comm {
namespace {

using test::input_error_of;
using test::TempDir;
using testing::ElementsAre;
using testing::HasSubstr;

Operation at(uint64_t seq, bool running) {
  Operation o{"world", "all_reduce", "grads/1", "Float", 16};
  o.seq = seq;
  o.running = running;
  o.age_s = 2;
  return o;
}

FlightDump dump_of(int rank) {
  FlightDump dump;
  dump.rank = rank;
  dump.time = "2026-11-27T12:00:00Z";
  dump.peers = {{0, "a", 10, "", 0, {}}, {1, "a", 11, "", 0, {}}, {2, "b", 12, "", 0, {}}};
  dump.failure = {{1}, "is stuck", 2};
  dump.operations = {at(6, false), at(7, true)};
  dump.last = {at(7, true)};
  if (rank == 2) {
    dump.answers[0] = {Answer::Kind::kSpoke, {at(6, false)}, {}};
    dump.answers[1] = {Answer::Kind::kSilent, {}, {}};
  }
  return dump;
}

TEST(FlightDump, IsReadBackAsItWasWritten) {
  const TempDir dir;
  const std::string path = write_flight_dump(dir / "made/flight", dump_of(2));
  EXPECT_EQ(path, dir / "made/flight/flight-rank2.json");
  const FlightDump read = read_flight_dump(path);
  EXPECT_EQ(read.rank, 2);
  EXPECT_EQ(read.time, "2026-11-27T12:00:00Z");
  EXPECT_EQ(read.peers.at(2).name(), "rank 2 (host b, pid 12)");
  EXPECT_EQ(read.failure.reason, "is stuck");
  EXPECT_EQ(read.failure.reporter, 2);
  ASSERT_EQ(read.operations.size(), 2U);
  EXPECT_EQ(read.operations[1].name(), at(7, true).name());
  EXPECT_EQ(read.answers.at(1).kind, Answer::Kind::kSilent);
  EXPECT_EQ(read_json_file(path)["verdict"], "rank 1 (host a, pid 11) is stuck");
}

TEST(FlightDump, MergedTheyGiveTheVerdictAndEveryRanksLastOperation) {
  const FlightReport all = merge({dump_of(0), dump_of(2)});
  EXPECT_EQ(all.verdict, "rank 1 (host a, pid 11) is stuck");
  EXPECT_THAT(all.rows,
              ElementsAre("rank 0, 2: all_reduce 'grads/1' (#7 of world, 16 B Float), running for "
                          "2.0 s",
                          "rank 1: does not answer"));
  EXPECT_THAT(all.missing, ElementsAre(1));
  const FlightReport one = merge({dump_of(0)});
  EXPECT_THAT(one.missing, ElementsAre(1, 2));
  EXPECT_EQ(one.rows.size(), 1U);
}

TEST(FlightDump, OfReportsThatCrossedTheLowestReportersStands) {
  FlightDump other = dump_of(0);
  other.failure = {{2}, "died", 0};
  EXPECT_EQ(merge({dump_of(2), other}).verdict, "rank 2 (host b, pid 12) died");
}

TEST(FlightDump, DumpsOfAnotherRunAreRefused) {
  FlightDump other = dump_of(0);
  other.peers[1].pid = 99;
  EXPECT_THAT(input_error_of([&] { merge({dump_of(2), other}); }), HasSubstr("different runs"));
}

TEST(FlightDump, WhatIsNoDumpIsRefusedInOneLine) {
  const TempDir dir;
  const std::string path = write_flight_dump(dir.path(), dump_of(2));
  const std::string good = read_file(path);
  const auto refused = [&](const std::string& text) {
    write_file_atomic(path, text);
    const std::string message = input_error_of([&] { read_flight_dump(path); });
    EXPECT_THAT(message, HasSubstr(path));
    return message;
  };
  EXPECT_THAT(refused(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(refused(good.substr(0, good.size() / 2)), HasSubstr("not valid JSON"));
  EXPECT_THAT(refused("[]"), HasSubstr("object"));
  EXPECT_THAT(refused("{}"), HasSubstr("not a flight dump"));
  const auto with = [&](const char* key, const Json& value) {
    Json json = parse_json(good, "good");
    json[key] = value;
    return refused(dump_json(json));
  };
  EXPECT_THAT(with("rank", 3), HasSubstr("no rank 3 in a run of 3"));
  EXPECT_THAT(with("rank", "two"), HasSubstr("rank"));
  EXPECT_THAT(with("peers", Json::array()), HasSubstr("no rank 2 in a run of 0"));
  EXPECT_THAT(with("failure", Json::object()), HasSubstr("culprits"));
  EXPECT_THAT(with("failure", {{"culprits", {-1}}, {"reason", ""}, {"reporter", 0}}),
              HasSubstr("no rank -1"));
  EXPECT_THAT(with("last", Json::array({1})), HasSubstr("last"));
  EXPECT_THAT(with("answers", Json::array({{{"rank", 0}}})), HasSubstr("answer"));
  EXPECT_THAT(with("operations", nullptr), HasSubstr("operations"));
}

}  // namespace
}  // namespace trireme::comm
