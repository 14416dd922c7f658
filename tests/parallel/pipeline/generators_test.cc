#include "trireme/parallel/pipeline/generators.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "trireme/base/error.h"
#include "trireme/parallel/pipeline/messages.h"
#include "trireme/parallel/pipeline/simulate.h"
#include "trireme/parallel/pipeline/validate.h"

namespace trireme::parallel::pipeline {
namespace {

using ::testing::HasSubstr;

// F, B and W of a chunk take 1 where a stage has one chunk, 1/2 where it has two, ...; a stage's
// activation of a micro-batch is 1.
Costs equal_costs(int chunks_per_stage) {
  const double part = 1.0 / chunks_per_stage;
  return {.chunks = {{.forward = part,
                      .backward_input = part,
                      .backward_weight = part,
                      .activation = part,
                      .kept_for_weight = part}}};
}

Simulation run(const std::string& name, int S, int M, int V = 1) {
  const ScheduleShape shape{.stages = S, .micro_batches = M, .chunks_per_stage = V};
  return simulate(make_schedule(name, shape), equal_costs(chunks_per_stage(name, shape)));
}

double largest(const std::vector<double>& values) {
  return *std::max_element(values.begin(), values.end());
}

TEST(Generators, EveryScheduleIsValidWithAndWithoutMessages) {
  for (const std::string& name : schedule_names()) {
    for (int S = 1; S <= 8; ++S) {
      for (int V = 1; V <= (name == "interleaved" ? 4 : 1); ++V) {
        for (int M = 1; M <= 3 * S + 2; ++M) {
          const Schedule schedule = make_schedule(name, {S, M, V});
          for (const Schedule& s : {schedule, with_messages(schedule)}) {
            const auto fault = find_fault(s);
            ASSERT_FALSE(fault) << name << " S " << S << " M " << M << " V " << V << ": rank "
                                << fault->rank << " " << fault->message;
          }
        }
      }
    }
  }
}

TEST(Generators, BubblesOfGpipeAnd1f1bAreTheFormula) {
  for (const char* name : {"gpipe", "1f1b"}) {
    for (int S = 1; S <= 8; ++S) {
      for (int M = 1; M <= 20; ++M) {
        const Simulation s = run(name, S, M);
        EXPECT_NEAR(s.bubble(), (S - 1.0) / (M + S - 1.0), 1e-12) << name << S << " " << M;
        EXPECT_NEAR(s.makespan, 3.0 * (M + S - 1), 1e-9);
      }
    }
  }
}

TEST(Generators, BubbleOfInterleavedIsTheFormulaForAnyMicroBatches) {
  for (int S = 1; S <= 6; ++S) {
    for (int V = 1; V <= 4; ++V) {
      for (int M = S; M <= 4 * S + 1; ++M) {
        EXPECT_NEAR(run("interleaved", S, M, V).bubble(), (S - 1.0) / (V * M + S - 1.0), 1e-12)
            << S << " " << V << " " << M;
      }
    }
  }
}

TEST(Generators, BubbleOfZbH1IsAThirdOf1f1bs) {
  for (int S = 1; S <= 8; ++S) {
    for (int M = S; M <= 4 * S; ++M) {
      const double idle = run("zb_h1", S, M).makespan - 3.0 * M;
      const double idle_1f1b = run("1f1b", S, M).makespan - 3.0 * M;
      EXPECT_NEAR(idle, idle_1f1b / 3, 1e-9) << S << " " << M;
    }
  }
}

TEST(Generators, ZbvHasNoBubbleWithinARanksOwnSpan) {
  for (int S = 1; S <= 8; ++S) {
    for (int M = 2 * S - 1; M <= 4 * S; ++M) {
      const Simulation s = run("zbv", S, M);
      EXPECT_NEAR(s.own_span_bubble(), 0, 1e-9) << S << " " << M;
      // The last rank begins S - 1 half-stage forwards late; nothing else is lost.
      EXPECT_NEAR(s.makespan, 3.0 * M + (S - 1) / 2.0, 1e-9);
    }
    // Fewer micro-batches: still no worse than 1F1B.
    for (int M = 1; M < 2 * S - 1; ++M) {
      EXPECT_LE(run("zbv", S, M).makespan, run("1f1b", S, M).makespan + 1e-9) << S << " " << M;
    }
  }
}

TEST(Generators, HoldsWhatThePapersSay) {
  for (int S = 1; S <= 6; ++S) {
    for (int M = 1; M <= 3 * S; ++M) {
      const Simulation all = run("gpipe", S, M), some = run("1f1b", S, M);
      for (int rank = 0; rank < S; ++rank) {
        EXPECT_NEAR(all.peak_activation[static_cast<size_t>(rank)], M, 1e-9);
        EXPECT_NEAR(some.peak_activation[static_cast<size_t>(rank)], std::min(M, S - rank), 1e-9);
      }
      EXPECT_NEAR(largest(run("zb_h1", S, M).peak_activation), std::min(M, S), 1e-9);
      EXPECT_LE(largest(run("zbv", S, M).peak_activation), std::min(M, S) + 1e-9);
      if (M >= S) {
        EXPECT_NEAR(largest(run("zbv", S, M).peak_activation), S, 1e-9);
      }
    }
    for (int V = 2; V <= 4; ++V) {
      const Simulation s = run("interleaved", S, 3 * S, V);
      for (int rank = 0; rank < S; ++rank) {
        EXPECT_NEAR(s.peak_activation[static_cast<size_t>(rank)],
                    ((V - 1.0) * S + 2 * (S - rank) - 1) / V, 1e-9)
            << S << " " << V << " " << rank;
      }
    }
  }
}

TEST(Generators, ASplitBackwardMayFreeAPartAtB) {
  // Of a held activation half is freed by B: ranks that keep weights back hold less.
  Costs costs = equal_costs(1);
  costs.chunks[0].kept_for_weight = 0.5;
  const Simulation s = simulate(zb_h1(4, 8), costs);
  EXPECT_NEAR(s.peak_activation[3], 1 + 3 * 0.5, 1e-9);  // one in flight, three that wait for W
  EXPECT_NEAR(s.peak_activation[0], 4, 1e-9);
}

TEST(Generators, PlacementsAreAsDrawn) {
  EXPECT_EQ(interleaved(3, 2, 3).rank_of_chunk, (std::vector<int>{0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(zbv(3, 3).rank_of_chunk, (std::vector<int>{0, 1, 2, 2, 1, 0}));
  EXPECT_EQ(zbv(3, 3).chunks_of(1), (std::vector<int>{1, 4}));
  EXPECT_TRUE(zbv(3, 3).splits_backward());
  EXPECT_FALSE(gpipe(3, 3).splits_backward());
}

TEST(Generators, NamesAndSizesAreChecked) {
  try {
    make_schedule("1fb1", {2, 2});
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean '1f1b'?"));
  }
  EXPECT_THROW(make_schedule("1f1b", {0, 2}), Error);
  EXPECT_THROW(make_schedule("gpipe", {2, 0}), Error);
  EXPECT_THROW(make_schedule("interleaved", {2, 2, 0}), Error);
}

TEST(Generators, FewMicroBatchesAreAWarningWithTheBubble) {
  EXPECT_EQ(few_micro_batches_warning(one_f_one_b(4, 4)), "");
  const std::string text = few_micro_batches_warning(one_f_one_b(4, 2));
  EXPECT_THAT(text, HasSubstr("2 micro-batches over 4 pipeline stages"));
  EXPECT_THAT(text, HasSubstr("idle 60 % of the time"));  // (S - 1) / (M + S - 1) = 3 / 5
}

// Messages.

TEST(Messages, AreSentAtOnceAndReceivedOneActionAhead) {
  const Schedule s = with_messages(one_f_one_b(2, 3));
  std::string text;
  for (const auto& list : s.actions) {
    for (const Action& action : list) text += action_text(action, false) + " ";
    text += "| ";
  }
  EXPECT_EQ(text,
            "F0 SF0 RB0 F1 SF1 BW0 RB1 F2 SF2 RB2 BW1 BW2 | "
            "RF0 F0 RF1 BW0 SB0 F1 RF2 BW1 SB1 F2 BW2 SB2 | ");
  EXPECT_EQ(with_messages(s).actions, s.actions);
}

TEST(Messages, NoneWithinARank) {
  EXPECT_FALSE(has_messages(with_messages(interleaved(1, 3, 4))));
  // ZBV: from the bottom of the V to its other side.
  const Schedule s = with_messages(zbv(2, 3));
  EXPECT_EQ(send_after(s, {ActionKind::kForward, 0, 1}), std::nullopt);
  EXPECT_EQ(recv_before(s, {ActionKind::kBackwardInput, 0, 1}), std::nullopt);
  EXPECT_EQ(send_after(s, {ActionKind::kForward, 0, 0}), (Action{ActionKind::kSendForward, 0, 0}));
}

// Times.

TEST(Simulate, MessagesTakeTimeOnTheWay) {
  Costs costs = equal_costs(1);
  costs.message_latency = 0.25;
  costs.message_time = 0.5;
  // One micro-batch: there and back once.
  EXPECT_NEAR(simulate(one_f_one_b(2, 1), costs).makespan, 6 + 2 * 0.75, 1e-12);
  // GPipe's forwards follow each other: the messages of the later ones are hidden.
  const Simulation s = simulate(gpipe(2, 4), costs);
  EXPECT_NEAR(s.ranks[1].back().end, 1 + 0.75 + 4 + 8 + 0.75, 1e-12);  // the last send arrives
  EXPECT_NEAR(s.makespan, 1 + 0.75 + 4 + 8 + 0.75 + 2, 1e-12);
}

TEST(Simulate, AnOverloadedLineHoldsUp) {
  Costs costs = equal_costs(1);
  costs.message_time = 4;  // a message takes longer than a forward
  const Simulation s = simulate(gpipe(2, 3), costs);
  std::vector<double> starts;
  for (const TimedAction& timed : s.ranks[1]) {
    if (timed.action.kind == ActionKind::kForward) starts.push_back(timed.start);
  }
  EXPECT_EQ(starts, (std::vector<double>{5, 9, 13}));
}

TEST(Simulate, OverheadsTakeTheRanksTime) {
  Costs costs = equal_costs(1);
  costs.send_overhead = 0.5;
  costs.recv_overhead = 0.25;
  EXPECT_NEAR(simulate(one_f_one_b(2, 1), costs).makespan, 6 + 2 * 0.75, 1e-12);
}

TEST(Simulate, MicroBatchesAndChunksDiffer) {
  Costs costs;
  costs.chunks = {{.forward = 1, .backward_input = 1, .backward_weight = 1},
                  {.forward = 2, .backward_input = 1, .backward_weight = 1}};
  costs.micro_batch_size = {1, 3};
  const Simulation s = simulate(gpipe(2, 2), costs);
  // Rank 1: F0 at 1..3, F1 at 4..10, BW0 10..12, BW1 12..18.
  EXPECT_NEAR(s.ranks[1].back().end, 18, 1e-12);
  EXPECT_NEAR(s.peak_activation[1], 4, 1e-12);
  costs.micro_batch_size = {1};
  EXPECT_THROW(simulate(gpipe(2, 2), costs), Error);
  costs.micro_batch_size = {};
  EXPECT_THROW(simulate(gpipe(3, 2), costs), Error);
}

}  // namespace
}  // namespace trireme::parallel::pipeline
