#include "trireme/base/text_distance.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace trireme {
namespace {

// The definition itself, exponential: what the table must agree with.
std::size_t slow_distance(std::string_view a, std::string_view b) {
  if (a.empty() || b.empty()) return a.size() + b.size();
  std::size_t best = std::min({slow_distance(a.substr(1), b) + 1, slow_distance(a, b.substr(1)) + 1,
                               slow_distance(a.substr(1), b.substr(1)) + (a[0] == b[0] ? 0 : 1)});
  if (a.size() > 1 && b.size() > 1 && a[0] == b[1] && a[1] == b[0]) {
    best = std::min(best, slow_distance(a.substr(2), b.substr(2)) + 1);
  }
  return best;
}

TEST(EditDistance, KnownValues) {
  EXPECT_EQ(edit_distance("", ""), 0U);
  EXPECT_EQ(edit_distance("abc", ""), 3U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(edit_distance("steps", "stpes"), 1U);  // a swap
  EXPECT_EQ(edit_distance("ca", "abc"), 3U);       // no edit inside a swap
}

TEST(EditDistance, AgreesWithItsDefinitionOnAllShortWords) {
  std::vector<std::string> words = {""};
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i].size() == 4) continue;
    for (const char c : {'a', 'b', 'c'}) words.push_back(words[i] + c);
  }
  ASSERT_EQ(words.size(), 121U);
  for (const std::string& a : words) {
    for (const std::string& b : words) {
      ASSERT_EQ(edit_distance(a, b), slow_distance(a, b)) << a << " " << b;
    }
  }
}

class Nearest : public testing::Test {
 protected:
  const std::vector<std::string> keys_ = {"train.steps", "train.epochs",   "train.seed",
                                          "optim.lr",    "optim.schedule", "data.train",
                                          "data.dev"};
};

TEST_F(Nearest, FindsTypingErrors) {
  EXPECT_EQ(nearest("train.stpes", keys_), "train.steps");
  EXPECT_EQ(nearest("trian.seed", keys_), "train.seed");
  EXPECT_EQ(nearest("train.step", keys_), "train.steps");
  EXPECT_EQ(nearest("optim.shedule", keys_), "optim.schedule");
  EXPECT_EQ(nearest("Train.Steps", keys_), "train.steps");
}

TEST_F(Nearest, FindsAKeyOfAnotherTable) {
  EXPECT_EQ(nearest("train.lr", keys_), "optim.lr");
  EXPECT_EQ(nearest("lr", keys_), "optim.lr");
  EXPECT_EQ(nearest("LR", keys_), "optim.lr");
}

TEST_F(Nearest, IsSilentWhenNothingIsNear) {
  EXPECT_EQ(nearest("parallel.zero", keys_), "");
  EXPECT_EQ(nearest("", keys_), "");
  EXPECT_EQ(nearest("x", {}), "");
  EXPECT_EQ(nearest(std::string(100000, 'a'), keys_), "");
  const std::vector<std::string> with_empty = {"", "a"};
  EXPECT_EQ(nearest("b", with_empty), "");
}

TEST_F(Nearest, TakesTheFirstAmongEquals) {
  const std::vector<std::string> names = {"cat", "car", "cap"};
  EXPECT_EQ(nearest("caz", names), "cat");
}

TEST_F(Nearest, AsASentence) {
  EXPECT_EQ(did_you_mean("train.stpes", keys_), "; did you mean 'train.steps'?");
  EXPECT_EQ(did_you_mean("something else", keys_), "");
}

}  // namespace
}  // namespace trireme
