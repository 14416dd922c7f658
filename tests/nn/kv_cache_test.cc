// Attention over a cache against attention over the whole sequence at once.
#include "trireme/nn/kv_cache.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "trireme/base/error.h"
#include "trireme/nn/layers.h"

namespace trireme::nn {
namespace {

constexpr int64_t kHeads = 2, kHidden = 8, kTokens = 11;

at::Tensor attend(const at::Tensor& qkv, const kernels::SeqInfo& seq, KvCache* cache) {
  Context context;
  context.seq = &seq;
  context.cache = cache;
  return self_attention(qkv, kHeads, /*causal=*/true, {}, context);
}

// The tokens come in runs of these lengths; two layers take turns.
TEST(KvCache, AnyCutOfASequenceGivesTheSame) {
  const at::NoGradGuard no_grad;
  at::manual_seed(1);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor first = at::randn({kTokens, 3 * kHidden}).to(dtype);
    const at::Tensor second = at::randn({kTokens, 3 * kHidden}).to(dtype);
    const std::vector<int32_t> whole = {kTokens};
    const kernels::SeqInfo all = kernels::SeqInfo::self(whole);
    for (const std::vector<int64_t>& runs : {std::vector<int64_t>{11}, {1, 10}, {4, 1, 1, 5}}) {
      KvCache cache(kTokens);
      std::vector<at::Tensor> from_first, from_second;
      for (const int64_t n : runs) {
        const int64_t past = cache.tokens();
        const auto seq =
            kernels::SeqInfo::continued(static_cast<int32_t>(past), static_cast<int32_t>(n));
        cache.begin(n);
        from_first.push_back(attend(first.narrow(0, past, n), seq, &cache));
        from_second.push_back(attend(second.narrow(0, past, n), seq, &cache));
        cache.end();
      }
      EXPECT_EQ(cache.tokens(), kTokens);
      const double bound = dtype == at::kFloat ? 1e-6 : 2e-2;
      EXPECT_TRUE(at::allclose(at::cat(from_first), attend(first, all, nullptr), bound, bound));
      EXPECT_TRUE(at::allclose(at::cat(from_second), attend(second, all, nullptr), bound, bound));
    }
  }
}

TEST(KvCache, ForgetsAndRefusesTooMany) {
  const at::NoGradGuard no_grad;
  at::manual_seed(2);
  const at::Tensor x = at::randn({4, 3 * kHidden}), y = at::randn({2, 3 * kHidden});
  KvCache cache(5);
  const auto run = [&](const at::Tensor& qkv) {
    const auto seq = kernels::SeqInfo::continued(static_cast<int32_t>(cache.tokens()),
                                                 static_cast<int32_t>(qkv.size(0)));
    cache.begin(qkv.size(0));
    at::Tensor out = attend(qkv, seq, &cache);
    cache.end();
    return out;
  };
  run(x.narrow(0, 0, 3));
  const at::Tensor expected = run(y);
  EXPECT_EQ(cache.tokens(), 5);
  EXPECT_THROW(cache.begin(1), Error);
  cache.truncate(3);
  EXPECT_EQ(cache.tokens(), 3);
  EXPECT_TRUE(at::equal(run(y), expected));
}

}  // namespace
}  // namespace trireme::nn
