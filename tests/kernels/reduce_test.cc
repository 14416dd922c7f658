// The oracle is ATen, source after source, 16-bit types in fp32.
#include "trireme/kernels/reduce.h"

#include <gtest/gtest.h>

#include <cmath>

#include "trireme/kernels/isa.h"

namespace trireme::kernels {
namespace {

using isa::Reduction;

isa::Reduce member(const isa::ReduceOps& ops, at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return ops.fp32;
    case at::kDouble:
      return ops.fp64;
    case at::kHalf:
      return ops.fp16;
    case at::kBFloat16:
      return ops.bf16;
    case at::kInt:
      return ops.int32;
    default:
      return ops.int64;
  }
}

at::Tensor expected(Reduction op, const std::vector<at::Tensor>& sources, at::ScalarType dtype) {
  const bool half = dtype == at::kHalf || dtype == at::kBFloat16;
  at::Tensor x = half ? sources[0].to(at::kFloat) : sources[0].clone();
  for (size_t s = 1; s < sources.size(); ++s) {
    const at::Tensor& y = sources[s];
    x = op == Reduction::kMin   ? at::minimum(x, y.to(x.scalar_type()))
        : op == Reduction::kMax ? at::maximum(x, y.to(x.scalar_type()))
                                : x + y;
  }
  if (op == Reduction::kAvg) {
    const auto n = static_cast<int64_t>(sources.size());
    x = at::isFloatingType(dtype) ? x / n : at::div(x, n, "trunc");
  }
  return x.to(dtype);
}

TEST(Reduce, EqualsATenForEveryTypeOperationTailAndInstructionSet) {
  at::manual_seed(1);
  for (const char* name : {"plain", "avx2", "avx512"}) {
    const isa::OpsTable* table = find_ops_table(name);
    if (table == nullptr) continue;  // the others are there on every x86-64
    for (const at::ScalarType dtype :
         {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16, at::kInt, at::kLong}) {
      for (const int64_t n : {1, 7, 16, 31, 64, 65, 200, 259}) {
        for (int count = 1; count <= 5; ++count) {
          std::vector<at::Tensor> sources;
          std::vector<const void*> from;
          for (int s = 0; s < count; ++s) {
            sources.push_back((at::randn({n}, at::kDouble) * 50).to(dtype));
            from.push_back(sources.back().data_ptr());
          }
          for (const Reduction op :
               {Reduction::kSum, Reduction::kMin, Reduction::kMax, Reduction::kAvg}) {
            at::Tensor a = at::zeros({n + 1}, dtype), b = at::zeros({n + 1}, dtype);
            void* to[] = {a.data_ptr(), b.data_ptr()};
            member(table->reduce, dtype)(op, from.data(), count, to, 2, n);
            EXPECT_TRUE(at::equal(a.narrow(0, 0, n), expected(op, sources, dtype)))
                << name << " " << dtype << " n " << n << " of " << count << " op "
                << static_cast<int>(op);
            EXPECT_EQ(a[n].item<double>(), 0) << "written behind the end";
            EXPECT_TRUE(at::equal(a, b));
          }
        }
      }
    }
  }
}

TEST(Reduce, InPlace) {
  at::Tensor a = at::arange(1000, at::kFloat), b = at::full({1000}, 2.0f);
  const at::Tensor sum = a + b;
  const void* from[] = {a.data_ptr(), b.data_ptr()};
  void* to[] = {a.data_ptr(), b.data_ptr()};
  reducer(at::kFloat)(Reduction::kSum, from, 2, to, 2, 1000);
  EXPECT_TRUE(at::equal(a, sum));
  EXPECT_TRUE(at::equal(b, sum));
}

TEST(Reduce, NanStaysAndHalfKeepsEveryValue) {
  for (const char* name : {"plain", "avx2", "avx512"}) {
    const isa::OpsTable* table = find_ops_table(name);
    if (table == nullptr) continue;
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16}) {
      for (const Reduction op : {Reduction::kSum, Reduction::kMin, Reduction::kMax}) {
        const at::Tensor a = at::tensor({NAN, 1.0}, at::kDouble).to(dtype);
        const at::Tensor b = at::tensor({1.0, NAN}, at::kDouble).to(dtype);
        at::Tensor x = at::zeros({2}, dtype);
        const void* from[] = {a.data_ptr(), b.data_ptr()};
        void* to[] = {x.data_ptr()};
        member(table->reduce, dtype)(op, from, 2, to, 1, 2);
        EXPECT_TRUE(x.isnan().all().item<bool>()) << name << " " << dtype;
      }
    }
    // All 65536 patterns, subnormals, infinities and NaN among them.
    const at::Tensor bits = at::arange(65536, at::kInt).to(at::kShort);
    const at::Tensor half = bits.view(at::kHalf);
    at::Tensor out = at::zeros({65536}, at::kHalf);
    const void* from[] = {half.data_ptr()};
    void* to[] = {out.data_ptr()};
    table->reduce.fp16(Reduction::kSum, from, 1, to, 1, 65536);
    const at::Tensor nan = half.isnan();
    EXPECT_TRUE(at::equal(out.isnan(), nan)) << name;
    EXPECT_TRUE(at::equal(out.view(at::kShort).masked_fill(nan, 0), bits.masked_fill(nan, 0)))
        << name;
  }
}

TEST(Reduce, HalfRoundsAsATen) {
  at::manual_seed(2);
  // From the subnormal range to beyond the largest.
  const at::Tensor a =
      (at::randn({20000}, at::kFloat) * at::exp(at::randn({20000}) * 6)).to(at::kHalf);
  const at::Tensor b =
      (at::randn({20000}, at::kFloat) * at::exp(at::randn({20000}) * 6)).to(at::kHalf);
  const at::Tensor want = (a.to(at::kFloat) + b.to(at::kFloat)).to(at::kHalf);
  for (const char* name : {"plain", "avx2", "avx512"}) {
    const isa::OpsTable* table = find_ops_table(name);
    if (table == nullptr) continue;
    at::Tensor x = at::zeros({20000}, at::kHalf);
    const void* from[] = {a.data_ptr(), b.data_ptr()};
    void* to[] = {x.data_ptr()};
    table->reduce.fp16(Reduction::kSum, from, 2, to, 1, 20000);
    EXPECT_TRUE(at::allclose(x, want, 0, 0, /*equal_nan=*/true)) << name;
  }
}

TEST(Reduce, OtherTypesHaveNone) {
  EXPECT_EQ(reducer(at::kByte), nullptr);
  EXPECT_EQ(reducer(at::kBool), nullptr);
}

}  // namespace
}  // namespace trireme::kernels
