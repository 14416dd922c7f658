#include "trireme/parallel/layout.h"

#include <gtest/gtest.h>

#include "trireme/base/error.h"

namespace trireme::parallel {
namespace {

std::string same(const std::string& key) {
  return key;
}

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    return error.what();
  }
  return "";
}

// The first fault: its key and its reason.
std::string first_fault(const Layout& layout, const LayoutLimits& limits) {
  const std::vector<LayoutFault> faults = layout_faults(layout, limits);
  return faults.empty() ? "" : faults[0].key + ": " + faults[0].reason;
}

constexpr LayoutLimits kGpt2{
    .layers = 12, .heads = 12, .longest_sequence = 1024, .micro_batch_tokens = 1024};

TEST(Layout, WhatIsLeftOfTheWorldIsDataParallel) {
  EXPECT_EQ(fitted({.pp = 2, .dp = 0, .tp = 2}, 8, same).dp, 2);
  EXPECT_EQ(fitted({.dp = 0}, 3, same).dp, 3);
  EXPECT_EQ(fitted({.dp = 4, .cp = 2}, 8, same).world(), 8);
  EXPECT_EQ((Layout{.pp = 2, .dp = 3, .cp = 4, .tp = 5}).data_ranks(), 12);
}

TEST(Layout, AxesThatAreNotTheWorldAreRefused) {
  EXPECT_EQ(message_of([] { fitted({.dp = 0, .tp = 3}, 8, same); }),
            "parallel.tp: pp x cp x tp = 1 x 1 x 3 = 3 does not divide the world: 8 ranks run; "
            "start a multiple of 3 with trireme launch -n");
  EXPECT_EQ(message_of([] { fitted({.dp = 3}, 1, same); }),
            "parallel.dp is 3, but 1 rank runs; start as many with trireme launch -n, or leave it "
            "0");
  EXPECT_EQ(message_of([] { fitted({.pp = 2, .dp = 2}, 8, same); }),
            "parallel.dp is 2, with pp x cp x tp = 2 x 1 x 1 = 2 that is 4 ranks, but 8 ranks run; "
            "start as many with trireme launch -n, or leave it 0");
}

TEST(Layout, WhatRunsHasNoFault) {
  for (const Layout& layout :
       {Layout{}, Layout{.dp = 64, .zero = 3}, Layout{.tp = 12}, Layout{.cp = 8},
        Layout{.pp = 12, .schedule = "1f1b"}, Layout{.pp = 4, .zero = 2, .schedule = "gpipe"},
        Layout{.pp = 4, .schedule = "interleaved", .chunks = 3},
        Layout{.pp = 2, .schedule = "zb_h1"}, Layout{.pp = 6, .schedule = "zbv", .chunks = 2},
        Layout{.tp = 4, .sequence_parallel = true},
        Layout{.cp = 2, .tp = 6, .cp_method = "ulysses"}}) {
    EXPECT_EQ(first_fault(layout, kGpt2), "") << text(layout);
  }
}

TEST(Layout, EachFaultIsNamed) {
  struct Case {
    Layout layout;
    const char* fault;
  };
  for (const Case& c : std::vector<Case>{
           {{.tp = 5}, "parallel.tp: heads do not divide over tp"},
           {{.sequence_parallel = true},
            "parallel.sequence_parallel: sequence parallel without tp"},
           {{.tp = 3, .sequence_parallel = true},
            "parallel.sequence_parallel: rows do not divide over tp"},
           {{.pp = 2}, "parallel.schedule: stages without a schedule"},
           {{.schedule = "1f1b"}, "parallel.schedule: a schedule without stages"},
           {{.pp = 2, .schedule = "1f1b2"}, "parallel.schedule: no such schedule"},
           {{.chunks = 2}, "parallel.chunks: chunks without stages"},
           {{.pp = 2, .schedule = "interleaved"}, "parallel.chunks: the schedule needs chunks"},
           {{.pp = 2, .schedule = "zbv"}, "parallel.chunks: the schedule has other chunks"},
           {{.pp = 2, .schedule = "gpipe", .chunks = 2},
            "parallel.chunks: the schedule has other chunks"},
           {{.pp = 13, .schedule = "1f1b"}, "parallel.pp: more stages than layers"},
           {{.pp = 7, .schedule = "zbv", .chunks = 2}, "parallel.pp: more stages than layers"},
           {{.pp = 2, .zero = 3, .schedule = "1f1b"}, "parallel.zero: ZeRO stage 3 with stages"},
           {{.cp = 1024}, "parallel.cp: sequences shorter than cp shares"},
           {{.cp = 4, .tp = 6, .cp_method = "ulysses"}, "parallel.cp: heads do not divide over cp"},
           {{.cp_method = "rings"}, "parallel.cp_method: no such context-parallel method"},
           {{.zero = 4}, "parallel.zero: no such ZeRO stage"},
           {{.tp = 0}, "parallel.tp: an axis below 1"}}) {
    EXPECT_EQ(first_fault(c.layout, kGpt2), c.fault) << text(c.layout);
  }
  const LayoutLimits short_batches{
      .heads = 12, .longest_sequence = 1024, .micro_batch_tokens = 512};
  EXPECT_EQ(first_fault({}, short_batches),
            "data.micro_batch_tokens: a sequence longer than a micro-batch");
  EXPECT_EQ(first_fault({.cp = 2}, short_batches), "");
}

TEST(Layout, TheErrorSaysWhatToDo) {
  EXPECT_EQ(message_of([] {
              check_layout({.tp = 5}, kGpt2,
                           [](const std::string& key) { return "run.toml:7: " + key; });
            }),
            "run.toml:7: parallel.tp: tp = 5 does not divide the model's 12 attention heads; take "
            "one of 1, 2, 3, 4, 6, 12");
  EXPECT_EQ(message_of([] { check_layout({.pp = 2, .schedule = "1f1"}, kGpt2, same); }),
            "parallel.schedule: no schedule '1f1'; did you mean '1f1b'?");
  EXPECT_EQ(message_of([] { check_layout({.tp = 4}, kGpt2, same); }), "");
}

TEST(Layout, InWords) {
  EXPECT_EQ(text(Layout{}), "dp=1");
  EXPECT_EQ(text({.pp = 2, .tp = 2, .zero = 1, .schedule = "1f1b", .recompute = true}),
            "pp=2 tp=2 zero=1 schedule=1f1b recompute=true");
}

}  // namespace
}  // namespace trireme::parallel
