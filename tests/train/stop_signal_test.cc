#include "trireme/train/stop_signal.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

namespace trireme::train {
namespace {

TEST(StopSignal, EverySignalSetsTheFlagAndOneToldTwiceIsNoSecondOne) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    const StopSignal stop;
    EXPECT_FALSE(stop.flag());
    std::raise(signal);
    EXPECT_TRUE(stop.flag());
    std::raise(signal);
    std::raise(SIGTERM);
  }
}

TEST(StopSignal, ALaterSecondSignalEndsTheProcess) {
  const auto insist = [] {
    const StopSignal stop;
    std::raise(SIGTERM);
    usleep(2'100'000);
    std::raise(SIGTERM);
  };
  EXPECT_EXIT(insist(), testing::KilledBySignal(SIGTERM), "");
}

TEST(StopSignal, WhatIsIgnoredStaysIgnored) {
  std::signal(SIGHUP, SIG_IGN);
  {
    const StopSignal stop;
    std::raise(SIGHUP);
    EXPECT_FALSE(stop.flag());
  }
  EXPECT_EQ(std::signal(SIGHUP, SIG_DFL), SIG_IGN);
}

}  // namespace
}  // namespace trireme::train
