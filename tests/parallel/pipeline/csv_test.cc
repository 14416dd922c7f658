#include "trireme/parallel/pipeline/csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trireme/base/error.h"
#include "trireme/parallel/pipeline/generators.h"
#include "trireme/parallel/pipeline/messages.h"
#include "trireme/parallel/pipeline/validate.h"

namespace trireme::parallel::pipeline {
namespace {

using ::testing::HasSubstr;

TEST(Csv, WrittenAndReadBackIsTheSame) {
  for (const std::string& name : schedule_names()) {
    const Schedule plain = make_schedule(name, {3, 5, 2});
    for (const Schedule& schedule : {plain, with_messages(plain)}) {
      const Schedule back = schedule_from_csv(to_csv(schedule), name);
      EXPECT_EQ(back.name, schedule.name);
      EXPECT_EQ(back.micro_batches, schedule.micro_batches);
      EXPECT_EQ(back.rank_of_chunk, schedule.rank_of_chunk);
      EXPECT_EQ(back.actions, schedule.actions) << name;
    }
  }
}

TEST(Csv, WrittenByHand) {
  const Schedule schedule = schedule_from_csv(
      "# two stages\r\n"
      "\n"
      "micro_batches, 2\n"
      "1,,F0,BW0,F1, BW1\n"
      "0,F0,F1,,BW0,,BW1,\n"
      ",,,\n",
      "hand.csv");
  EXPECT_EQ(schedule.rank_of_chunk, (std::vector<int>{0, 1}));
  EXPECT_EQ(schedule.actions, one_f_one_b(2, 2).actions);
  EXPECT_FALSE(find_fault(schedule));
}

TEST(Csv, WhatIsWrongIsNamedWithItsPlace) {
  const std::string head = "micro_batches,2\n";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"0,F0\n", "s.csv: there is no line micro_batches,NUMBER"},
      {head + "0,F0,X1\n", "s.csv:2: cell 3: 'X1' is not an action"},
      {head + "0,F0,F\n", "cell 3: 'F' is not an action"},
      {head + "0,F0.1.2\n", "'F0.1.2' is not an action"},
      {head + "0,F-1\n", "'F-1' is not an action"},
      {head + "zero,F0\n", "s.csv:2: 'zero' is not a rank, 'micro_batches' or 'placement'"},
      {head + "0,F0\n0,F1\n", "s.csv:3: rank 0 has a row already, line 2"},
      {head + "1,F0\n", "there is no row of rank 0"},
      {head + "placement,0,0\n0,F0\n",
       "does not say which of the 2 chunks of rank 0: write F0.CHUNK"},
      {"micro_batches,0\n0,F0\n", "there are no micro-batches"},
      {"micro_batches\n0,F0\n", "micro_batches has one number"},
      {head + "placement\n0,F0\n", "placement names the rank of each chunk"},
      {"micro_batches,99999999999\n0,F0\n", "is not a number of micro-batches"},
  };
  for (const auto& [text, says] : cases) {
    try {
      schedule_from_csv(text, "s.csv");
      FAIL() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kInput);
      EXPECT_THAT(error.what(), HasSubstr(says));
    }
  }
}

}  // namespace
}  // namespace trireme::parallel::pipeline
