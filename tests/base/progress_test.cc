#include "trireme/base/progress.h"

#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

namespace trireme {
namespace {

class ProgressTest : public testing::Test {
 protected:
  std::string taken() {
    std::string text = out_.str();
    out_.str("");
    return text;
  }
  std::ostringstream out_;
  FakeClock clock_{1000};
};

TEST_F(ProgressTest, PlainLinesHaveAllParts) {
  Progress progress(out_, clock_, {.total_steps = 500});
  clock_.advance_s(60);
  progress.update({.step = 100, .loss = 1.23456, .real_tokens_per_s = 3155.4, .gemm_share = 0.618});
  EXPECT_EQ(taken(), "step 100/500  loss 1.2346  3,155 tokens/s  62% of GEMM peak  ETA 4m00s\n");
}

TEST_F(ProgressTest, LeavesOutWhatIsNotKnown) {
  Progress progress(out_, clock_, {});
  progress.update({.step = 3, .loss = 0.5, .real_tokens_per_s = 10});
  EXPECT_EQ(taken(), "step 3  loss 0.5000  10 tokens/s\n");
}

TEST_F(ProgressTest, EtaCountsTheStepsOfThisRunOnly) {
  Progress progress(out_, clock_, {.total_steps = 120, .first_step = 100});
  clock_.advance_s(10);
  progress.update({.step = 110, .loss = 1, .real_tokens_per_s = 1});
  EXPECT_EQ(taken(), "step 110/120  loss 1.0000  1 tokens/s  ETA 10s\n");
}

TEST_F(ProgressTest, NoEtaBeforeTheFirstStepIsDone) {
  Progress progress(out_, clock_, {.total_steps = 10, .first_step = 5});
  progress.update({.step = 5, .loss = 1, .real_tokens_per_s = 1});
  EXPECT_EQ(taken(), "step 5/10  loss 1.0000  1 tokens/s\n");
}

TEST_F(ProgressTest, PlainLinesComeNowAndThenAndAtTheEnd) {
  Progress progress(out_, clock_, {.total_steps = 100, .plain_interval_s = 10});
  int lines = 0;
  for (int step = 1; step <= 100; ++step) {
    clock_.advance_s(1);
    progress.update({.step = step, .loss = 1, .real_tokens_per_s = 1});
    const std::string text = taken();
    if (text.empty()) continue;
    ++lines;
    EXPECT_TRUE(step % 10 == 1 || step == 100) << step;
    EXPECT_EQ(text.find('\r'), std::string::npos);
  }
  EXPECT_EQ(lines, 11);
  progress.finish();
  EXPECT_EQ(taken(), "");
}

TEST_F(ProgressTest, RefreshesInPlaceOnATerminal) {
  Progress progress(out_, clock_, {.in_place = true, .terminal_interval_s = 0.1});
  progress.update({.step = 1, .loss = 10.5, .real_tokens_per_s = 1000});
  EXPECT_EQ(taken(), "\rstep 1  loss 10.5000  1,000 tokens/s");
  clock_.advance_s(0.05);
  progress.update({.step = 2, .loss = 9, .real_tokens_per_s = 5});
  EXPECT_EQ(taken(), "") << "too soon";
  clock_.advance_s(0.06);
  progress.update({.step = 3, .loss = 9, .real_tokens_per_s = 5});
  EXPECT_EQ(taken(), "\rstep 3  loss 9.0000  5 tokens/s     ") << "spaces wipe the longer line";
  progress.finish();
  EXPECT_EQ(taken(), "\n");
  progress.finish();
  EXPECT_EQ(taken(), "");
}

TEST_F(ProgressTest, ShowsANanLoss) {
  Progress progress(out_, clock_, {});
  progress.update({.step = 1, .loss = std::nan(""), .real_tokens_per_s = 1});
  EXPECT_EQ(taken(), "step 1  loss nan  1 tokens/s\n");
}

TEST(FormatDuration, TakesTwoUnits) {
  EXPECT_EQ(format_duration(0), "0s");
  EXPECT_EQ(format_duration(59.4), "59s");
  EXPECT_EQ(format_duration(59.6), "1m00s");
  EXPECT_EQ(format_duration(83), "1m23s");
  EXPECT_EQ(format_duration(7500), "2h05m");
  EXPECT_EQ(format_duration(3 * 86400 + 4 * 3600 + 10), "3d04h");
  EXPECT_EQ(format_duration(-1), "?");
  EXPECT_EQ(format_duration(std::nan("")), "?");
  EXPECT_EQ(format_duration(INFINITY), "?");
}

TEST(FormatCount, GroupsThousands) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999.4), "999");
  EXPECT_EQ(format_count(999.6), "1,000");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(123456), "123,456");
  EXPECT_EQ(format_count(-1234), "-1,234");
  EXPECT_EQ(format_count(-0.2), "0");
  EXPECT_EQ(format_count(std::nan("")), "?");
  EXPECT_EQ(format_count(INFINITY), "?");
}

}  // namespace
}  // namespace trireme
