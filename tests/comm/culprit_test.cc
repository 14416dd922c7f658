#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trireme/comm/failure.h"

namespace trireme::comm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Operation at(uint64_t seq, bool running = true, double age_s = 5) {
  Operation o{"world", "all_reduce", "grads/1"};
  o.seq = seq;
  o.running = running;
  o.age_s = age_s;
  return o;
}
Answer spoke(std::vector<Operation> last) {
  return {Answer::Kind::kSpoke, std::move(last)};
}

TEST(Culprit, TheOneThatIsBehind) {
  const Failure f =
      find_culprit(at(7), 0, {0, 1, 2}, {{1, spoke({at(7)})}, {2, spoke({at(6, false, 30)})}});
  EXPECT_THAT(f.culprits, ElementsAre(2));
  EXPECT_THAT(f.reason, HasSubstr("has not reached all_reduce #7 of world"));
  EXPECT_THAT(f.reason, HasSubstr("#6 of world), begun 30.0 s ago and over"));
}

TEST(Culprit, AllThatAreFurthestBehind) {
  const Failure f = find_culprit(at(7), 3, {0, 1, 2, 3},
                                 {{0, spoke({at(5)})}, {1, spoke({at(6)})}, {2, spoke({at(5)})}});
  EXPECT_THAT(f.culprits, ElementsAre(0, 2));
}

TEST(Culprit, SilenceIsWorseThanBeingBehindAndGoneIsWorseThanSilence) {
  std::map<int, Answer> answers{{1, spoke({at(3)})}, {2, {Answer::Kind::kSilent, {}}}};
  EXPECT_THAT(find_culprit(at(7), 0, {0, 1, 2}, answers).culprits, ElementsAre(2));
  answers[1] = {Answer::Kind::kGone, {}};
  EXPECT_THAT(find_culprit(at(7), 0, {0, 1, 2}, answers).culprits, ElementsAre(1));
}

TEST(Culprit, ARankThatHasBegunNothing) {
  const Failure f = find_culprit(at(1), 0, {0, 1}, {{1, spoke({})}});
  EXPECT_THAT(f.culprits, ElementsAre(1));
  EXPECT_THAT(f.reason, HasSubstr("has begun no operation"));
}

TEST(Culprit, OnlyTheGroupsOwnSeriesCounts) {
  Operation other = at(1);
  other.group = "dp";
  const Failure f = find_culprit(at(2), 0, {0, 1}, {{1, spoke({other, at(2)})}});
  EXPECT_THAT(f.culprits, IsEmpty());
  EXPECT_THAT(f.reason, HasSubstr("comm.interface"));
}

TEST(Culprit, PointToPointBlamesThePeer) {
  Operation mine = at(1);
  mine.kind = "recv";
  mine.peer = 2;
  const Failure f = find_culprit(mine, 0, {0, 1, 2}, {{1, spoke({})}, {2, spoke({at(4)})}});
  EXPECT_THAT(f.culprits, ElementsAre(2));
  EXPECT_THAT(f.reason, HasSubstr("all_reduce 'grads/1' (#4"));
}

TEST(Failure, OneLineNamesRankHostPidAndOperation) {
  const std::vector<Peer> peers{{0, "a", 10, "", 0, {}}, {1, "b", 11, "", 0, {}}};
  Operation operation = at(17);
  operation.bytes = 4 << 20;
  operation.dtype = "Float";
  EXPECT_EQ(describe({{1}, "died"}, peers, 0, &operation),
            "rank 1 (host b, pid 11) died; rank 0 (host a, pid 10) was in all_reduce 'grads/1' "
            "(#17 of world, "
            "4.0 MiB Float)");
}

TEST(Peers, AreListedUpToEight) {
  const auto number = [](int rank) { return std::to_string(rank); };
  EXPECT_EQ(list_ranks({}, number), "");
  EXPECT_EQ(list_ranks({1, 3}, number), "1, 3");
  EXPECT_EQ(list_ranks({0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, number),
            "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
}

TEST(Failure, SurvivesJson) {
  const Failure f = failure_from_json(to_json(Failure{{3, 5}, "is \"stuck\"\n"})).value();
  EXPECT_THAT(f.culprits, ElementsAre(3, 5));
  EXPECT_EQ(f.reason, "is \"stuck\"\n");
  EXPECT_FALSE(failure_from_json("{").has_value());
  EXPECT_FALSE(failure_from_json("[]").has_value());
}

TEST(Board, TheFirstReportStands) {
  FailureBoard board;
  int calls = 0;
  board.subscribe([&] { ++calls; });
  const int gone = board.subscribe([&] { calls += 100; });
  board.unsubscribe(gone);
  EXPECT_TRUE(board.report({{1}, "first"}));
  EXPECT_FALSE(board.report({{2}, "second"}));
  EXPECT_EQ(board.get()->reason, "first");
  EXPECT_EQ(calls, 1);
  board.subscribe([&] { ++calls; });
  EXPECT_EQ(calls, 2);
}

TEST(Peers, SurviveJson) {
  const Peer peer = peer_from_json(to_json(Peer{3, "node7", 4711, "10.0.0.3", 99, {0, 2}}));
  EXPECT_EQ(peer.name(), "rank 3 (host node7, pid 4711)");
  EXPECT_EQ(peer.address, "10.0.0.3");
  EXPECT_EQ(peer.port, 99);
  EXPECT_THAT(peer.cpus, ElementsAre(0, 2));
  EXPECT_ANY_THROW(peer_from_json("{\"rank\":1}"));
}

}  // namespace
}  // namespace trireme::comm
