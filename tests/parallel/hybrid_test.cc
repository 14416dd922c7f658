// The face of Hybrid; that every layout gives what one process gives is
// tests/train/layouts_test.cc.
#include "trireme/parallel/hybrid.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/base/test_util.h"
#include "tests/parallel/small_models.h"
#include "trireme/comm/testing.h"

namespace trireme::parallel {
namespace {

using test::error_of;
using ::testing::HasSubstr;
using testing::SmallGpt2;

constexpr int64_t kWidth = 30;

class HybridOf : public ::testing::Test {
 protected:
  models::Gpt2Config config = SmallGpt2::config();
};

TEST_F(HybridOf, AWeightThatTwoStagesUseMustBeTwoParams) {
  comm::run_ranks(2, [&](comm::World& world) {
    models::Gpt2LmHeadModel shared(config);
    EXPECT_THAT(error_of(ErrorKind::kInput,
                         [&] {
                           Hybrid(world, shared.chain(), {.pp = 2, .schedule = "1f1b"},
                                  {.width = kWidth});
                         }),
                AllOf(HasSubstr("transformer.wte.weight"), HasSubstr("kCopy")));
    models::Gpt2LmHeadModel copied(config, models::TiedHead::kCopies);
    EXPECT_NO_THROW(
        Hybrid(world, copied.chain(), {.pp = 2, .schedule = "1f1b"}, {.width = kWidth}));
  });
}

TEST_F(HybridOf, APipelineMustKnowTheWidth) {
  comm::run_ranks(2, [&](comm::World& world) {
    models::Gpt2LmHeadModel model(config, models::TiedHead::kCopies);
    EXPECT_THAT(error_of(ErrorKind::kInput,
                         [&] { Hybrid(world, model.chain(), {.pp = 2, .schedule = "1f1b"}, {}); }),
                HasSubstr("width"));
  });
}

TEST_F(HybridOf, UnitsThatAreNoChainHaveDataParallelismAlone) {
  comm::run_ranks(2, [&](comm::World& world) {
    models::Gpt2LmHeadModel model(config);
    EXPECT_THAT(error_of(ErrorKind::kInput, [&] { Hybrid(world, model.units(), {.tp = 2}, {}); }),
                HasSubstr("tp=2"));
    EXPECT_NO_THROW(Hybrid(world, model.units(), {.dp = 2}, {}));
  });
}

TEST_F(HybridOf, ALayoutOfOtherRanksThanThereAre) {
  comm::run_ranks(1, [&](comm::World& world) {
    models::Gpt2LmHeadModel model(config);
    EXPECT_THROW(Hybrid(world, model.chain(), {.dp = 2}, {}), Error);
  });
}

}  // namespace
}  // namespace trireme::parallel
