#include "trireme/parallel/elastic_flat.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "trireme/base/error.h"

namespace trireme::parallel {
namespace {

TEST(ElasticFlat, ViewsSeeTheMemoryThatComesAndGoes) {
  ElasticFlat flat(12, at::kFloat);
  const at::Tensor view = flat.tensor().narrow(0, 4, 6).view({2, 3});
  EXPECT_FALSE(flat.live());
  for (const double first : {1.0, 100.0}) {
    flat.take(at::arange(first, first + 12, at::kFloat));
    EXPECT_TRUE(flat.live());
    EXPECT_EQ(view[1][2].item<double>(), first + 9);
    flat.free();
    EXPECT_FALSE(flat.live());
    EXPECT_EQ(flat.tensor().data_ptr(), nullptr);
  }
}

TEST(ElasticFlat, TakesMemoryAtAnOffsetAndKeepsItAlive) {
  ElasticFlat flat(3, at::kFloat);
  at::Tensor whole = at::arange(8, at::kFloat);
  flat.take(whole.narrow(0, 2, 3));
  whole = at::Tensor();
  EXPECT_TRUE(at::equal(flat.tensor(), at::arange(2, 5, at::kFloat)));
}

TEST(ElasticFlat, RefusesMemoryThatDoesNotFit) {
  ElasticFlat flat(3, at::kFloat);
  EXPECT_THROW(flat.take(at::zeros({4})), Error);
  EXPECT_THROW(flat.take(at::zeros({3}, at::kDouble)), Error);
  EXPECT_THROW(flat.take(at::zeros({6}).slice(0, 0, 6, 2)), Error);
}

}  // namespace
}  // namespace trireme::parallel
