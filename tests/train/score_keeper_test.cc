#include "trireme/train/score_keeper.h"

#include <gtest/gtest.h>

#include "trireme/base/error.h"

namespace trireme::train {
namespace {

TEST(ScoreKeeper, KnowsTheBestAndWhenToGiveUp) {
  ScoreKeeper keeper("f1", Better::kHigher, 2);
  EXPECT_TRUE(keeper.best().empty());
  EXPECT_TRUE(keeper.consider(5, {{"f1", 10.0}, {"em", 1.0}}));
  EXPECT_FALSE(keeper.consider(10, {{"f1", 10.0}}));  // as good is not better
  EXPECT_FALSE(keeper.exhausted());
  EXPECT_TRUE(keeper.consider(15, {{"f1", 11.0}}));
  EXPECT_FALSE(keeper.consider(20, {{"f1", 9.0}}));
  EXPECT_FALSE(keeper.exhausted());
  EXPECT_FALSE(keeper.consider(25, {{"f1", 8.0}}));
  EXPECT_TRUE(keeper.exhausted());
  EXPECT_EQ(keeper.best(), (Json{{"f1", 11.0}, {"step", 15}}));
}

TEST(ScoreKeeper, LowerMayBeBetter) {
  ScoreKeeper keeper("loss", Better::kLower, 0);
  EXPECT_TRUE(keeper.consider(1, {{"loss", 2.0}}));
  EXPECT_FALSE(keeper.consider(2, {{"loss", 3.0}}));
  EXPECT_TRUE(keeper.consider(3, {{"loss", 1.0}}));
  for (int64_t step = 4; step < 20; ++step) keeper.consider(step, {{"loss", 5.0}});
  EXPECT_FALSE(keeper.exhausted());  // no patience was set
}

TEST(ScoreKeeper, IsKeptInACheckpoint) {
  ScoreKeeper keeper("f1", Better::kHigher, 2);
  keeper.consider(5, {{"f1", 10.0}});
  keeper.consider(6, {{"f1", 9.0}});
  ScoreKeeper again("f1", Better::kHigher, 2);
  again.restore(keeper.to_json(), "a");
  EXPECT_EQ(again.best(), keeper.best());
  EXPECT_FALSE(again.exhausted());
  again.consider(7, {{"f1", 9.5}});
  EXPECT_TRUE(again.exhausted());
}

TEST(ScoreKeeper, RefusesWhatItDoesNotUnderstand) {
  ScoreKeeper keeper("f1", Better::kHigher, 2);
  EXPECT_THROW(keeper.consider(1, {{"em", 1.0}}), Error);
  EXPECT_THROW(keeper.consider(1, {{"f1", "high"}}), Error);
  for (const Json& saved : {Json(), Json::object(), Json{{"best", 3}}}) {
    EXPECT_THROW(keeper.restore(saved, "a"), Error) << saved;
  }
}

}  // namespace
}  // namespace trireme::train
