#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trireme/base/error.h"
#include "trireme/comm/culprit.h"
#include "trireme/comm/failure_board.h"

namespace trireme::comm {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

Operation at(uint64_t seq, bool running = true, double age_s = 5) {
  Operation o{"world", "all_reduce", "grads/1"};
  o.seq = seq;
  o.running = running;
  o.age_s = age_s;
  return o;
}
Operation sized(uint64_t seq, int64_t bytes, const std::string& tag = "grads/1") {
  Operation o = at(seq);
  o.bytes = bytes;
  o.tag = tag;
  o.dtype = "Float";
  return o;
}
// A rank whose last operation is the last of these.
Answer spoke(const std::vector<Operation>& history) {
  Answer answer{Answer::Kind::kSpoke, {}, history};
  if (!history.empty()) answer.last = {history.back()};
  return answer;
}
std::vector<int> all_of(const std::map<int, Answer>& answers) {
  std::vector<int> ranks;
  for (const auto& [rank, answer] : answers) ranks.push_back(rank);
  return ranks;
}
// As rank 0 sees it, which has an answer too.
Failure culprit(const Operation& mine, const std::map<int, Answer>& answers) {
  return find_culprit(mine, 0, all_of(answers), answers).failure;
}

TEST(Culprit, TheOneThatIsBehind) {
  const Failure f =
      culprit(at(7), {{0, spoke({at(7)})}, {1, spoke({at(7)})}, {2, spoke({at(6, false, 30)})}});
  EXPECT_THAT(f.culprits, ElementsAre(2));
  EXPECT_THAT(f.reason, HasSubstr("has not reached all_reduce #7 of world"));
  EXPECT_THAT(f.reason, HasSubstr("#6 of world), begun 30.0 s ago and over"));
}

TEST(Culprit, AllThatAreFurthestBehind) {
  const Failure f = culprit(
      at(7), {{0, spoke({at(7)})}, {1, spoke({at(5)})}, {2, spoke({at(6)})}, {3, spoke({at(5)})}});
  EXPECT_THAT(f.culprits, ElementsAre(1, 3));
}

TEST(Culprit, OneWhoseOperationHasAnotherSizeKindOrDtype) {
  struct Case {
    Operation odd;
    const char* said;
  };
  Operation gather = sized(7, 4096);
  gather.kind = "all_gather";
  Operation ints = sized(7, 4096);
  ints.dtype = "Int";
  for (const Case& c :
       {Case{sized(7, 12288), "12.0 KiB against 4.0 KiB"},
        Case{gather, "all_gather against all_reduce"}, Case{ints, "Int against Float"}}) {
    std::map<int, Answer> answers{{0, spoke({sized(7, 4096)})},
                                  {1, spoke({c.odd})},
                                  {2, spoke({sized(7, 4096), sized(8, 16)})},
                                  {3, {Answer::Kind::kSilent, {}, {}}}};
    const Verdict v = find_culprit(sized(7, 4096), 0, {0, 1, 2, 3}, answers);
    EXPECT_THAT(v.failure.culprits, ElementsAre(1));
    EXPECT_EQ(v.failure.reason, "is in " + c.odd.name() + " where rank 0, 2 are in " +
                                    sized(7, 4096).name() + ": " + c.said);
    EXPECT_FALSE(v.certain) << "rank 3 may yet say something";
    answers.erase(3);
    EXPECT_TRUE(find_culprit(sized(7, 4096), 0, {0, 1, 2}, answers).certain);
    // The odd one itself comes to the same verdict.
    EXPECT_EQ(find_culprit(c.odd, 1, {0, 1, 2}, answers).failure.reason, v.failure.reason);
  }
}

TEST(Culprit, WithoutAMajorityAllAreNamed) {
  const std::map<int, Answer> two{{0, spoke({sized(2, 4000)})}, {1, spoke({sized(2, 4004)})}};
  const Failure f = culprit(sized(2, 4000), two);
  EXPECT_THAT(f.culprits, ElementsAre(0, 1));
  EXPECT_EQ(f.reason,
            "differ in the same place: rank 0 is in all_reduce 'grads/1' (#2 of world, 3.9 KiB "
            "Float), rank 1 is in all_reduce 'grads/1' (#2 of world, 3.9 KiB Float): 4004 B "
            "against 4000 B");
  const std::map<int, Answer> four{{0, spoke({sized(2, 16)})},
                                   {1, spoke({sized(2, 8)})},
                                   {2, spoke({sized(2, 16)})},
                                   {3, spoke({sized(2, 8)})}};
  EXPECT_THAT(culprit(sized(2, 16), four).culprits, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(culprit(sized(2, 16), four).reason, HasSubstr("rank 0, 2 are in"));
}

TEST(Culprit, ABroadcastFromAnotherRoot) {
  Operation a = sized(3, 8), b = sized(3, 8);
  a.kind = b.kind = "broadcast";
  a.peer = 0;
  b.peer = 1;
  const Failure f = culprit(a, {{0, spoke({a})}, {1, spoke({b})}, {2, spoke({a})}});
  EXPECT_THAT(f.culprits, ElementsAre(1));
  EXPECT_THAT(f.reason, HasSubstr("from rank 1 against from rank 0"));
}

// Rank 2 leaves out #2 and is one behind at the end: the sizes never differ.
TEST(Culprit, TheOperationThatWasLeftOutIsNamed) {
  const std::vector<Operation> whole{sized(1, 8, "a"), sized(2, 8, "b"), sized(3, 8, "c"),
                                     sized(4, 8, "d")};
  const std::vector<Operation> short_by_one{sized(1, 8, "a"), sized(2, 8, "c"), sized(3, 8, "d")};
  const Failure f =
      culprit(whole.back(), {{0, spoke(whole)}, {1, spoke(whole)}, {2, spoke(short_by_one)}});
  EXPECT_THAT(f.culprits, ElementsAre(2));
  EXPECT_THAT(f.reason, HasSubstr("has not reached all_reduce #4 of world: its last operation is "
                                  "all_reduce 'd' (#3 of world"));
  EXPECT_THAT(f.reason, HasSubstr("; it left out all_reduce 'b' (#2 of world, 8 B Float)"));

  Answer left = spoke(short_by_one);
  left.kind = Answer::Kind::kLeft;
  EXPECT_THAT(culprit(whole.back(), {{0, spoke(whole)}, {1, spoke(whole)}, {2, left}}).reason,
              AllOf(HasSubstr("ended in good order without all_reduce #4 of world"),
                    HasSubstr("left out all_reduce 'b'")));
}

TEST(Culprit, OtherTagsAreNoClueWhereTheyAlwaysDiffered) {
  const std::vector<Operation> mine{sized(5, 8, "a"), sized(6, 8, "b"), sized(7, 8, "c")};
  const std::vector<Operation> theirs{sized(5, 8, "x"), sized(6, 8, "y")};
  EXPECT_THAT(culprit(mine.back(), {{0, spoke(mine)}, {1, spoke(theirs)}}).reason,
              Not(HasSubstr("it ")  // neither "it left out" nor "it was in"
                  ));
}

TEST(Culprit, WhenAllHaveComeTheTagSaysWhoIsElsewhere) {
  const Failure f = culprit(sized(4, 8, "d"), {{0, spoke({sized(4, 8, "d")})},
                                               {1, spoke({sized(4, 8, "e")})},
                                               {2, spoke({sized(4, 8, "d")})}});
  EXPECT_THAT(f.culprits, ElementsAre(1));
  EXPECT_THAT(f.reason, HasSubstr("is in all_reduce 'e'"));
}

TEST(Culprit, SilenceIsWorseThanBeingBehindAndGoneIsWorseThanSilence) {
  std::map<int, Answer> answers{
      {0, spoke({at(7)})}, {1, spoke({at(3)})}, {2, {Answer::Kind::kSilent, {}, {}}}};
  EXPECT_THAT(culprit(at(7), answers).culprits, ElementsAre(2));
  answers[1] = {Answer::Kind::kGone, {}, {}};
  EXPECT_THAT(culprit(at(7), answers).culprits, ElementsAre(1));
}

TEST(Culprit, ARankThatHasBegunNothing) {
  const Failure f = culprit(at(1), {{0, spoke({at(1)})}, {1, spoke({})}});
  EXPECT_THAT(f.culprits, ElementsAre(1));
  EXPECT_THAT(f.reason, HasSubstr("has begun no operation"));
}

TEST(Culprit, OnlyTheGroupsOwnSeriesCounts) {
  Operation other = at(1);
  other.group = "dp";
  Answer answer = spoke({at(2)});
  answer.last = {other, at(2)};
  const Failure f = culprit(at(2), {{0, spoke({at(2)})}, {1, answer}});
  EXPECT_THAT(f.culprits, IsEmpty());
  EXPECT_THAT(f.reason, HasSubstr("comm.interface"));
}

TEST(Culprit, PointToPointLooksAtTheOtherSide) {
  Operation mine = sized(1, 64);
  mine.kind = "recv";
  mine.peer = 2;
  Answer peer{Answer::Kind::kSpoke, {at(4)}, {}};
  const Failure late = culprit(mine, {{0, spoke({mine})}, {1, spoke({})}, {2, peer}});
  EXPECT_THAT(late.culprits, ElementsAre(2));
  EXPECT_THAT(late.reason, AllOf(HasSubstr("did not come to the other side of it"),
                                 HasSubstr("all_reduce 'grads/1' (#4")));
  Operation theirs = mine;
  theirs.kind = "send";
  theirs.peer = 0;
  theirs.bytes = 128;
  peer.history = {theirs};
  const Failure differ = culprit(mine, {{0, spoke({mine})}, {2, peer}});
  EXPECT_THAT(differ.culprits, ElementsAre(0, 2));
  EXPECT_THAT(differ.reason, HasSubstr("rank 0 is in recv 'grads/1' (#1 of world from rank 2, 64 B "
                                       "Float), rank 2 in send"));
  EXPECT_THAT(differ.reason, HasSubstr("64 B against 128 B"));
}

TEST(Culprit, CounterpartsAreTheSameCollectivesOrTheOtherDirection) {
  Operation send = at(3), recv = at(3), other_peer = at(3);
  send.kind = "send";
  recv.kind = other_peer.kind = "recv";
  send.peer = 1;
  recv.peer = 0;
  other_peer.peer = 2;
  Operation other_group = at(3);
  other_group.group = "dp";
  const std::vector<Operation> theirs{at(1), at(2), at(3), other_group, recv, other_peer, at(50)};
  EXPECT_EQ(counterpart(theirs, at(3), 0).size(), 3U);
  const auto of_send = counterpart(theirs, send, 0);
  ASSERT_EQ(of_send.size(), 1U);
  EXPECT_EQ(of_send[0].peer, 0);
  EXPECT_EQ(counterpart({at(1), at(40)}, at(40), 0).size(), 1U) << "not the whole past";
}

TEST(Culprit, TheTableHasALineForRanksThatAreAlike) {
  Answer gone{Answer::Kind::kGone, {}, {}};
  Answer left = spoke({at(6, false)});
  left.kind = Answer::Kind::kLeft;
  const auto lines = last_operations_table({{0, spoke({at(7, true, 2)})},
                                            {1, spoke({at(7, true, 2.5)})},
                                            {2, gone},
                                            {3, spoke({at(7, true, 1)})},
                                            {4, left},
                                            {5, {Answer::Kind::kSilent, {}, {}}},
                                            {6, spoke({})}});
  EXPECT_THAT(
      lines, ElementsAre("rank 0-1, 3: all_reduce 'grads/1' (#7 of world), running for 2.5 s",
                         "rank 2: gone", "rank 4: all_reduce 'grads/1' (#6 of world), then it left",
                         "rank 5: does not answer", "rank 6: no operation"));
}

TEST(Culprit, AnswersSurviveJson) {
  Answer answer = spoke({at(1), at(2)});
  answer.kind = Answer::Kind::kLeft;
  const Answer read = answer_from_json(to_json(answer), "x");
  EXPECT_EQ(read.kind, Answer::Kind::kLeft);
  EXPECT_EQ(read.last.at(0).seq, 2U);
  EXPECT_EQ(read.history.size(), 2U);
  EXPECT_THROW(answer_from_json({{"kind", "asleep"}}, "x"), Error);
  EXPECT_THROW(answer_from_json(Json::array(), "x"), Error);
}

TEST(Failure, OneLineNamesRankHostPidAndOperation) {
  const std::vector<Peer> peers{{0, "a", 10, "", 0, {}}, {1, "b", 11, "", 0, {}}};
  Operation operation = at(17);
  operation.bytes = 4 << 20;
  operation.dtype = "Float";
  EXPECT_EQ(describe({{1}, "died"}, peers, 0, operation),
            "rank 1 (host b, pid 11) died; rank 0 (host a, pid 10) was in all_reduce 'grads/1' "
            "(#17 of world, "
            "4.0 MiB Float)");
  EXPECT_EQ(describe({{1}, "died"}, peers), "rank 1 (host b, pid 11) died");
}

TEST(Peers, AreListedUpToEight) {
  const auto number = [](int rank) { return std::to_string(rank); };
  EXPECT_EQ(list_ranks({}, number), "");
  EXPECT_EQ(list_ranks({1, 3}, number), "1, 3");
  EXPECT_EQ(list_ranks({0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, number),
            "0, 1, 2, 3, 4, 5, 6, 7 and 2 more");
}

TEST(Failure, SurvivesJson) {
  const Failure f = failure_from_json(to_json(Failure{{3, 5}, "is \"stuck\"\n", 4}), "x");
  EXPECT_THAT(f.culprits, ElementsAre(3, 5));
  EXPECT_EQ(f.reason, "is \"stuck\"\n");
  EXPECT_EQ(f.reporter, 4);
  EXPECT_THROW(failure_from_json(Json::array(), "x"), Error);
}

TEST(Board, TheFirstReportStandsOnceItHasSettled) {
  FailureBoard board;
  int calls = 0;
  board.subscribe([&] { ++calls; });
  const int gone = board.subscribe([&] { calls += 100; });
  board.unsubscribe(gone);
  EXPECT_TRUE(board.report({{1}, "first", 3}));
  EXPECT_FALSE(board.report({{2}, "second", 5}));
  EXPECT_FALSE(board.get().has_value());
  EXPECT_TRUE(board.reported());
  EXPECT_EQ(board.wait_for(std::chrono::seconds(5))->reason, "first");
  EXPECT_FALSE(board.report({{2}, "too late", 0}));
  EXPECT_EQ(board.get()->reason, "first");
  EXPECT_EQ(calls, 1);
  board.subscribe([&] { ++calls; });
  EXPECT_EQ(calls, 2);
}

TEST(Board, OfReportsThatCrossTheLowestReportersStands) {
  FailureBoard board;
  EXPECT_TRUE(board.report({{1}, "of rank 3", 3}));
  EXPECT_TRUE(board.report({{1}, "of rank 0", 0}));
  EXPECT_FALSE(board.report({{1}, "of rank 2", 2}));
  EXPECT_EQ(board.wait_for(std::chrono::seconds(5))->reason, "of rank 0");
}

TEST(Board, ShowsNothingWhileItIsHeld) {
  FailureBoard board;
  board.report({{1}, "x", 0});
  {
    const FailureBoard::Hold hold(board);
    EXPECT_FALSE(board.wait_for(2 * FailureBoard::kSettleTime).has_value());
  }
  EXPECT_TRUE(board.wait_for(std::chrono::milliseconds(0)).has_value());
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
