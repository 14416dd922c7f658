#include "trireme/base/list_text.h"

#include <gtest/gtest.h>

namespace trireme {
namespace {

TEST(ListText, NamesTheFirstAndCountsTheRest) {
  EXPECT_EQ(list_text(std::vector<int>{}, 3), "");
  EXPECT_EQ(list_text(std::vector<std::string>{"a", "b", "c"}, 3), "a, b, c");
  EXPECT_EQ(list_text(std::vector<int64_t>{1, 2, 3, 4}, 2), "1, 2 and 2 more");
}

}  // namespace
}  // namespace trireme
