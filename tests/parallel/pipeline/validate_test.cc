// Each rule of the validator is broken once, and the fault is found in the right cell.
#include "trireme/parallel/pipeline/validate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "trireme/base/error.h"
#include "trireme/parallel/pipeline/generators.h"
#include "trireme/parallel/pipeline/messages.h"

namespace trireme::parallel::pipeline {
namespace {

using enum ActionKind;
using ::testing::HasSubstr;

struct Mutation {
  std::string name;
  Schedule schedule;
  std::function<void(Schedule&)> change;
  int rank;
  int index;
  std::string says;
};

void swap(Schedule& s, int rank, size_t a, size_t b) {
  auto& list = s.actions[static_cast<size_t>(rank)];
  std::swap(list[a], list[b]);
}
void erase(Schedule& s, int rank, int index) {
  auto& list = s.actions[static_cast<size_t>(rank)];
  list.erase(list.begin() + index);
}

// gpipe(2, 2):            0: F0 F1 BW0 BW1          1: the same
// zb_h1(2, 2):            0: F0 F1 B0 W0 B1 W1      1: F0 B0 F1 B1 W0 W1
// with_messages(gpipe 2): 0: F0 SF0 RB0 F1 SF1 RB1 BW0 BW1
//                         1: RF0 RF1 F0 F1 BW0 SB0 BW1 SB1 (receives where the sender's order is)
std::vector<Mutation> mutations() {
  const Schedule plain = gpipe(2, 2), split = zb_h1(2, 2), full = with_messages(plain);
  return {
      {"B before its F", plain, [](Schedule& s) { swap(s, 0, 1, 3); }, 0, 1, "F1 must come before"},
      {"F twice", plain, [](Schedule& s) { s.actions[1][1] = s.actions[1][0]; }, 1, 1, "twice"},
      {"F missing", plain, [](Schedule& s) { s.actions[1] = {}; }, 1, -1, "F0 is not there"},
      {"BW missing", plain, [](Schedule& s) { erase(s, 1, 3); }, 1, -1, "BW1 is not there"},
      {"backwards in another order", plain, [](Schedule& s) { swap(s, 0, 2, 3); }, 0, 2,
       "micro-batch 0 is next"},
      {"W before its B", split, [](Schedule& s) { swap(s, 0, 2, 3); }, 0, 2, "B0 must come before"},
      {"weights in another order", split, [](Schedule& s) { swap(s, 1, 4, 5); }, 1, 4,
       "weight gradients are added in the order of the micro-batches: micro-batch 0"},
      {"W missing", split, [](Schedule& s) { erase(s, 0, 5); }, 0, -1, "W1 is not there"},
      {"W of a whole backward", plain,
       [](Schedule& s) {
         s.actions[0].push_back({kBackwardWeight, 0, 0});
       },
       0, 4, "BW of this micro-batch did it already"},
      {"B and BW", split,
       [](Schedule& s) {
         s.actions[0][3] = {kBackward, 0, 0};
       },
       0, 3, "as BW and as B"},
      {"a chunk of another rank", plain, [](Schedule& s) { s.actions[0][1].chunk = 1; }, 0, 1,
       "chunk 1 is placed on rank 1"},
      {"a chunk that is none", plain, [](Schedule& s) { s.actions[0][1].chunk = 2; }, 0, 1,
       "there are chunks 0 to 1"},
      {"a micro-batch that is none", plain, [](Schedule& s) { s.actions[1][1].micro_batch = 2; }, 1,
       1, "there are micro-batches 0 to 1"},
      {"a placement outside", plain, [](Schedule& s) { s.rank_of_chunk[1] = 5; }, 0, -1,
       "placed on rank 5 of 2"},
      {"a rank without a chunk", plain,
       [](Schedule& s) {
         s.rank_of_chunk = {0, 0};
       },
       1, -1, "no chunk is placed on it"},
      {"an output of the same rank before its input", zbv(1, 2),
       [](Schedule& s) { swap(s, 0, 0, 1); }, 0, 0, "F0.0 must come before it"},
      {"deadlock over two ranks", gpipe(2, 2),
       [](Schedule& s) {
         // Rank 0 waits for gradients of micro-batch 0 before it gives micro-batch 1; rank 1 wants
         // both first.
         s.actions[0] = {{kForward, 0, 0}, {kBackward, 0, 0}, {kForward, 1, 0}, {kBackward, 1, 0}};
       },
       0, 1, "deadlock"},
      {"receive missing", full, [](Schedule& s) { erase(s, 1, 0); }, 1, 1, "RF0 must come before"},
      {"send missing", full, [](Schedule& s) { erase(s, 0, 1); }, 0, -1, "SF0 is not there"},
      {"send before what it carries", full, [](Schedule& s) { swap(s, 0, 0, 1); }, 0, 0,
       "F0 must come before"},
      {"receive behind its use", full,
       [](Schedule& s) {
         auto& list = s.actions[1];
         std::rotate(list.begin(), list.begin() + 1, list.begin() + 3);
       },
       1, 1, "RF0 must come before"},
      {"received in another order", full, [](Schedule& s) { swap(s, 1, 0, 1); }, 1, 0,
       "message number 1 to rank 1 is SF0, so RF0 must stand here"},
      {"a message of the last output", full,
       [](Schedule& s) {
         s.actions[1].push_back({kSendForward, 0, 1});
       },
       1, 8, "nothing is to be sent"},
  };
}

TEST(Validate, EveryMutationIsFoundInItsCell) {
  for (const Mutation& mutation : mutations()) {
    ASSERT_FALSE(find_fault(mutation.schedule)) << mutation.name;
    Schedule broken = mutation.schedule;
    mutation.change(broken);
    const auto fault = find_fault(broken);
    ASSERT_TRUE(fault) << mutation.name;
    EXPECT_EQ(fault->rank, mutation.rank) << mutation.name << ": " << fault->message;
    EXPECT_EQ(fault->index, mutation.index) << mutation.name << ": " << fault->message;
    EXPECT_THAT(fault->message, HasSubstr(mutation.says)) << mutation.name;
  }
}

TEST(Validate, MemoryIsBounded) {
  EXPECT_FALSE(find_fault(one_f_one_b(3, 8), {.max_held = 3}));
  const auto fault = find_fault(one_f_one_b(3, 8), {.max_held = 2});
  ASSERT_TRUE(fault);
  EXPECT_EQ(fault->rank, 0);
  EXPECT_EQ(fault->index, 2);
  EXPECT_THAT(fault->message, HasSubstr("would hold 3 activations, and may hold 2"));
}

TEST(Validate, TheErrorNamesScheduleRankAndCell) {
  Schedule s = gpipe(2, 2);
  swap(s, 0, 1, 3);
  try {
    validate(s);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    EXPECT_STREQ(error.what(),
                 "pipeline schedule gpipe: rank 0, action 2 (BW1): F1 must come before it");
  }
}

}  // namespace
}  // namespace trireme::parallel::pipeline
