#include "trireme/io/dtype.h"

#include <gtest/gtest.h>

#include "trireme/io/tensor_source.h"

namespace trireme::io {
namespace {

TEST(Dtype, NamesReadBackToTheSameType) {
  for (int i = 0; i < kDtypeCount; ++i) {
    const auto dtype = static_cast<Dtype>(i);
    ASSERT_TRUE(parse_dtype(dtype_name(dtype)).has_value()) << i;
    EXPECT_EQ(*parse_dtype(dtype_name(dtype)), dtype);
  }
}

TEST(Dtype, NamesAndSizes) {
  EXPECT_EQ(dtype_name(Dtype::kF32), "F32");
  EXPECT_EQ(dtype_name(Dtype::kBF16), "BF16");
  EXPECT_EQ(dtype_name(Dtype::kF8E4M3Fnuz), "F8_E4M3FNUZ");
  EXPECT_EQ(dtype_bits(Dtype::kBool), 8);
  EXPECT_EQ(dtype_bits(Dtype::kF4), 4);
  EXPECT_EQ(dtype_bits(Dtype::kF6E3M2), 6);
  EXPECT_EQ(dtype_bits(Dtype::kF16), 16);
  EXPECT_EQ(dtype_bits(Dtype::kC64), 64);
}

TEST(Dtype, UnknownNames) {
  for (const char* name : {"", "f32", "F32 ", "FLOAT", "F128", "F3"}) {
    EXPECT_FALSE(parse_dtype(name).has_value()) << name;
  }
}

std::optional<std::uint64_t> size_of(Dtype dtype, std::vector<std::int64_t> shape) {
  return tensor_bytes(dtype, shape);
}

TEST(TensorBytes, ProductOfDimsAndElement) {
  EXPECT_EQ(size_of(Dtype::kF32, {}), 4);
  EXPECT_EQ(size_of(Dtype::kF32, {2, 3}), 24);
  EXPECT_EQ(size_of(Dtype::kI64, {7, 0, 5}), 0);
  EXPECT_EQ(size_of(Dtype::kF4, {3, 2}), 3);
  EXPECT_EQ(size_of(Dtype::kF6E2M3, {4}), 3);
}

TEST(TensorBytes, NoneForShapesWithoutASize) {
  EXPECT_FALSE(size_of(Dtype::kF32, {-1}));
  EXPECT_FALSE(size_of(Dtype::kF4, {3}));
  EXPECT_FALSE(size_of(Dtype::kF6E2M3, {3}));
  EXPECT_FALSE(size_of(Dtype::kU8, {std::int64_t{1} << 62}));  // 2^65 bits
  EXPECT_FALSE(size_of(Dtype::kU8, {std::int64_t{1} << 62, 4, 0}));
  EXPECT_EQ(size_of(Dtype::kU8, {0, std::int64_t{1} << 62, 4}), 0);
}

}  // namespace
}  // namespace trireme::io
