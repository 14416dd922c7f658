#include "trireme/data/blend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/base/test_util.h"

namespace trireme::data {
namespace {

using ::testing::HasSubstr;

TEST(Blend, ListsAndWeights) {
  const auto one = parse_blend("runs/a", "data.train");
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].prefix, "runs/a");
  EXPECT_EQ(one[0].weight, 0);
  const auto two = parse_blend(" c:/x/a : 0.7,b:3e-1 ", "data.train");
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[0].prefix, "c:/x/a");
  EXPECT_EQ(two[0].weight, 0.7);
  EXPECT_EQ(two[1].prefix, "b");
  EXPECT_EQ(two[1].weight, 0.3);
  EXPECT_EQ(parse_blend("a,b,c", "x").size(), 3u);
}

TEST(Blend, SaysWhatIsWrong) {
  const auto refusal = [](const char* text) {
    return test::input_error_of([&] { parse_blend(text, "run.toml:3: data.train"); });
  };
  EXPECT_THAT(refusal("a,,b"), HasSubstr("run.toml:3: data.train: an empty name"));
  EXPECT_THAT(refusal(""), HasSubstr("an empty name"));
  EXPECT_THAT(refusal("a:0.5,b"), HasSubstr("give b and a each a weight"));
  EXPECT_THAT(refusal("a:0.5x"), HasSubstr("'0.5x' behind a"));
  EXPECT_THAT(refusal("a:-1"), HasSubstr("'-1'"));
  EXPECT_THAT(refusal("a:0"), HasSubstr("'0'"));
  EXPECT_THAT(refusal("a:inf"), HasSubstr("'inf'"));
}

}  // namespace
}  // namespace trireme::data
