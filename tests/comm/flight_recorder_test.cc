#include "trireme/comm/flight_recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>

#include "trireme/base/error.h"

namespace trireme::comm {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(FlightRecorder, CountsASeriesForCollectivesAndOneForEachPeerAndDirection) {
  FlightRecorder recorder;
  const auto world = recorder.add_group("world", {0, 1, 2});
  const auto pair = recorder.add_group("pair", {1, 4});
  using Kind = OperationKind;
  std::vector<uint64_t> got;
  for (const auto& [group, kind, peer] :
       std::vector<std::tuple<uint32_t, Kind, int>>{{world, Kind::kAllReduce, -1},
                                                    {world, Kind::kBroadcast, 2},
                                                    {world, Kind::kSend, 1},
                                                    {world, Kind::kSend, 2},
                                                    {world, Kind::kSend, 1},
                                                    {world, Kind::kRecv, 1},
                                                    {pair, Kind::kBarrier, -1},
                                                    {pair, Kind::kRecv, 1},
                                                    {world, Kind::kBarrier, -1}}) {
    got.push_back(recorder.begin(group, {.kind = kind, .tag = "x", .peer = peer}).entry.seq);
  }
  EXPECT_THAT(got, ElementsAre(1, 2, 1, 1, 2, 1, 1, 1, 3));
  std::vector<std::string> names;
  for (const Operation& o : recorder.last()) names.push_back(o.name());
  EXPECT_THAT(names,
              ElementsAre("barrier 'x' (#3 of world)", "send 'x' (#2 of world to rank 1)",
                          "send 'x' (#1 of world to rank 2)", "recv 'x' (#1 of world from rank 1)",
                          "barrier 'x' (#1 of pair)", "recv 'x' (#1 of pair from rank 4)"));
}

TEST(FlightRecorder, SaysInWordsWhatRunsAndHowLong) {
  const auto clock = std::make_shared<FakeClock>(5);
  FlightRecorder recorder(clock);
  const auto id = recorder.add_group("world", {0, 1});
  const auto first = recorder.begin(id, {.kind = OperationKind::kAllReduce,
                                         .tag = "grads/3",
                                         .dtype = at::ScalarType::Float,
                                         .bytes = 4 << 20});
  clock->advance_s(2);
  const auto second = recorder.begin(id, {.kind = OperationKind::kAllGather, .tag = "b"});
  recorder.end(first);
  clock->advance_s(1);
  const Operation o = recorder.operation(first);
  EXPECT_EQ(o.name(), "all_reduce 'grads/3' (#1 of world, 4.0 MiB Float)");
  EXPECT_FALSE(o.running);
  EXPECT_DOUBLE_EQ(o.age_s, 3);
  EXPECT_DOUBLE_EQ(o.took_s, 2);
  EXPECT_TRUE(recorder.operation(second).running);
  ASSERT_EQ(recorder.all().size(), 2U);
  EXPECT_EQ(recorder.all()[0].took_s, 2);
  EXPECT_TRUE(recorder.last().at(0).running);
  recorder.end(second);
  EXPECT_FALSE(recorder.last().at(0).running);
}

TEST(FlightRecorder, LongTagsAreCut) {
  FlightRecorder recorder;
  const auto id = recorder.add_group("g", {0, 1});
  const std::string longest(FlightRecorder::kTagBytes, 'a');
  recorder.begin(id, {.tag = longest + "b"});
  EXPECT_EQ(recorder.last().at(0).tag, longest);
}

TEST(FlightRecorder, TheRingForgetsTheOldestButKeepsTheLastOfEachSeries) {
  FlightRecorder recorder;
  const auto quiet = recorder.add_group("quiet", {0, 1});
  const auto busy = recorder.add_group("busy", {0, 1});
  const auto old = recorder.begin(quiet, {.tag = "old"});
  for (size_t i = 0; i < FlightRecorder::kEntries + 10; ++i) {
    recorder.end(recorder.begin(busy, {.tag = "b"}));
  }
  const auto all = recorder.all();
  ASSERT_EQ(all.size(), FlightRecorder::kEntries);
  EXPECT_EQ(all.front().seq, 11U);
  EXPECT_EQ(all.back().seq, FlightRecorder::kEntries + 10);
  ASSERT_EQ(recorder.last().size(), 2U);
  EXPECT_EQ(recorder.last()[0].tag, "old");
  EXPECT_TRUE(recorder.last()[0].running);
  recorder.end(old);  // must not touch the entry that took its place
  EXPECT_FALSE(recorder.last()[0].running);
  EXPECT_EQ(recorder.operation(old).tag, "old");
}

TEST(FlightRecorder, ThreadsBeginAndEndWhileAnotherReads) {
  FlightRecorder recorder;
  constexpr int kThreads = 3, kEach = 20000;
  std::vector<FlightRecorder::GroupId> ids;
  for (int t = 0; t < kThreads; ++t) ids.push_back(recorder.add_group("g", {0, 1}));
  std::atomic<bool> stop = false;
  std::thread reader([&] {
    while (!stop) {
      for (const Operation& o : recorder.all()) ASSERT_EQ(o.tag, "tag");
      ASSERT_LE(recorder.last().size(), static_cast<size_t>(kThreads));
    }
  });
  std::vector<std::thread> writers;
  for (const auto id : ids) {
    writers.emplace_back([&recorder, id] {
      for (uint64_t i = 1; i <= kEach; ++i) {
        const auto ticket = recorder.begin(id, {.tag = "tag", .bytes = 1});
        ASSERT_EQ(ticket.entry.seq, i);
        recorder.end(ticket);
      }
    });
  }
  for (std::thread& w : writers) w.join();
  stop = true;
  reader.join();
  EXPECT_EQ(recorder.last().at(2).seq, static_cast<uint64_t>(kEach));
}

// Prints what an entry costs; the bound is loose, as other processes may have the cores.
TEST(FlightRecorder, AnEntryCostsLittle) {
  FlightRecorder recorder;
  const auto id = recorder.add_group("world", {0, 1});
  constexpr int kEach = 10000;
  double best_ns = 1e9;
  for (int round = 0; round < 20; ++round) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kEach; ++i) {
      recorder.end(recorder.begin(id, {.kind = OperationKind::kAllReduce,
                                       .tag = "grads/bert.encoder.layer.3",
                                       .dtype = at::ScalarType::Float,
                                       .bytes = 1 << 20}));
    }
    const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - start;
    best_ns = std::min(best_ns, time.count() / kEach);
  }
  std::printf("begin and end: %.0f ns\n", best_ns);
#if !defined(__SANITIZE_THREAD__) && defined(NDEBUG)
  EXPECT_LT(best_ns, 1000);
#endif
}

TEST(FlightRecorder, AddsUpBlockedTime) {
  const auto clock = std::make_shared<FakeClock>();
  FlightRecorder recorder(clock);
  for (int i = 0; i < 2; ++i) {
    const BlockedTime blocked(recorder);
    clock->advance_s(0.25);
  }
  clock->advance_s(9);
  EXPECT_DOUBLE_EQ(recorder.blocked_s(), 0.5);
}

TEST(Mismatch, NamesWhatDiffersFirst) {
  Operation a{"world", "all_reduce", "grads/1", "Float", 4096, 7};
  Operation b = a;
  b.tag = "another tag does no matching";
  EXPECT_EQ(mismatch(a, b), "");
  b.bytes = 8192;
  EXPECT_EQ(mismatch(a, b), "4.0 KiB against 8.0 KiB");
  b.bytes = 4100;
  EXPECT_EQ(mismatch(a, b), "4096 B against 4100 B");
  b.bytes = a.bytes;
  b.dtype = "Int";
  EXPECT_EQ(mismatch(a, b), "Float against Int");
  b.kind = "barrier";
  EXPECT_EQ(mismatch(a, b), "all_reduce against barrier");
  b.kind = "send";
  EXPECT_EQ(mismatch(a, b), "all_reduce against send");
  a.kind = b.kind = "broadcast";
  b.dtype = a.dtype;
  a.peer = 0;
  b.peer = 2;
  EXPECT_EQ(mismatch(a, b), "from rank 0 against from rank 2");
}

TEST(Mismatch, ASendMeetsAReceive) {
  Operation send{"world", "send", "x", "Float", 16, 1, 2};
  Operation recv{"world", "recv", "y", "Float", 16, 1, 0};
  EXPECT_EQ(mismatch(send, recv), "");
  EXPECT_EQ(mismatch(send, send), "send against send");
  recv.bytes = 8;
  EXPECT_EQ(mismatch(send, recv), "16 B against 8 B");
}

TEST(Operations, SurviveJson) {
  Operation o{"world", "send", "a \"b\"\n", "Float", 16, 3, 2, false, 1.5, 0.25};
  const Operation read = operations_from_json(to_json({o}), "x").at(0);
  EXPECT_EQ(read.name(), o.name());
  EXPECT_FALSE(read.running);
  EXPECT_EQ(read.age_s, 1.5);
  EXPECT_EQ(read.took_s, 0.25);
  EXPECT_THROW(operations_from_json(Json::array({{{"group", "g"}}}), "x"), Error);
  EXPECT_THROW(operations_from_json(Json::object(), "x"), Error);
}

}  // namespace
}  // namespace trireme::comm
