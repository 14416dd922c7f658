#include "trireme/kernels/attention.h"

#include <gtest/gtest.h>

#include "tests/kernels/reference.h"
#include "trireme/base/error.h"

namespace trireme::kernels {
namespace {

using trireme::testing::relative_error;

struct Case {
  std::vector<int32_t> lengths;
  int64_t heads, kv_heads, head_size;
  bool causal;
  double dropout;
  at::ScalarType dtype;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.lengths.size() << " sequences, " << c.heads << "/" << c.kv_heads << " heads of "
             << c.head_size << (c.causal ? ", causal" : "") << ", dropout " << c.dropout << ", "
             << at::toString(c.dtype);
}

DropoutKey make_key(const SeqInfo& seq, int64_t T) {
  DropoutKey key{17, 3, at::zeros({T}, at::kInt), at::zeros({T}, at::kInt)};
  for (int64_t b = 0; b < seq.sequences(); ++b) {
    for (int32_t t = seq.cu_q_host[b]; t < seq.cu_q_host[b + 1]; ++t) {
      key.row_sample[t] = static_cast<int>(5 + b);
      key.row_position[t] = t - seq.cu_q_host[b];
    }
  }
  return key;
}

class AttentionTest : public ::testing::TestWithParam<Case> {};

TEST_P(AttentionTest, EqualsReferenceForwardAndBackward) {
  const Case& c = GetParam();
  at::manual_seed(1);
  const SeqInfo seq = SeqInfo::self(c.lengths);
  const int64_t T = (seq.real_tokens() + 63) / 64 * 64;
  // Slices of one fused product, as the model has them; the reference sees the rounded values.
  const at::Tensor fused = at::randn({T, c.heads + 2 * c.kv_heads, c.head_size}).to(c.dtype);
  const at::Tensor q = fused.narrow(1, 0, c.heads), k = fused.narrow(1, c.heads, c.kv_heads),
                   v = fused.narrow(1, c.heads + c.kv_heads, c.kv_heads);
  const at::Tensor d_out = at::randn({T, c.heads, c.head_size}).to(c.dtype);
  d_out.narrow(0, seq.real_tokens(), T - seq.real_tokens()).zero_();
  AttentionOptions options{
      c.causal, 0.3, {c.dropout, dropout_site(SiteKind::kAttentionProbs, 2)}, make_key(seq, T)};

  auto leaf = [](const at::Tensor& x) {
    return x.to(at::kDouble).contiguous().set_requires_grad(true);
  };
  const at::Tensor rq = leaf(q), rk = leaf(k), rv = leaf(v);
  const at::Tensor expected =
      reference::attention(rq, rk, rv, seq, c.causal, 0.3, options.dropout, options.key);
  expected.backward(d_out.to(at::kDouble));

  const AttentionResult result = attention(q, k, v, seq, options);
  at::Tensor d_fused = at::full_like(fused, 7.0);
  at::Tensor dq = d_fused.narrow(1, 0, c.heads), dk = d_fused.narrow(1, c.heads, c.kv_heads),
             dv = d_fused.narrow(1, c.heads + c.kv_heads, c.kv_heads);
  attention_backward(d_out, q, k, v, result, seq, options, dq, dk, dv);

  const double bound = c.dtype == at::kFloat ? 2e-6 : 1e-2;
  EXPECT_LT(relative_error(result.out, expected.detach()), bound);
  EXPECT_LT(relative_error(dq, rq.grad()), bound);
  EXPECT_LT(relative_error(dk, rk.grad()), bound);
  EXPECT_LT(relative_error(dv, rv.grad()), bound);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, AttentionTest,
    ::testing::Values(Case{{5, 1, 17}, 2, 2, 8, false, 0.0, at::kFloat},
                      Case{{40, 33}, 3, 3, 16, true, 0.0, at::kFloat},
                      Case{{64}, 4, 2, 32, true, 0.25, at::kFloat},
                      Case{{7, 50}, 2, 1, 20, false, 0.1, at::kFloat},
                      Case{{70, 3}, 2, 2, 32, false, 0.1, at::kBFloat16},
                      Case{{30, 21}, 4, 4, 64, true, 0.2, at::kBFloat16},
                      Case{{1}, 1, 1, 3, true, 0.0, at::kFloat},
                      // the most scores are in another sequence than the most keys
                      Case{{384, 250, 384, 250}, 1, 1, 32, false, 0.0, at::kBFloat16}));

// A long sequence takes several query blocks; the cheap oracle is ATen's.
TEST(Attention, ManyQueryBlocks) {
  at::manual_seed(2);
  const std::vector<int32_t> lengths = {1500};
  const SeqInfo seq = SeqInfo::self(lengths);
  const at::Tensor q = at::randn({1500, 2, 32}), k = at::randn({1500, 2, 32}),
                   v = at::randn({1500, 2, 32});
  auto leaf = [](const at::Tensor& x) {
    return x.to(at::kDouble).transpose(0, 1).contiguous().set_requires_grad(true);
  };
  for (const bool causal : {false, true}) {
    const at::Tensor rq = leaf(q), rk = leaf(k), rv = leaf(v);
    at::Tensor scores = at::bmm(rq, rk.transpose(1, 2)) * 0.2;
    if (causal) scores = scores.masked_fill(at::ones({1500, 1500}, at::kBool).triu(1), -INFINITY);
    const at::Tensor expected = at::bmm(at::softmax(scores, 2), rv);
    const at::Tensor d_out = at::randn({1500, 2, 32});
    expected.backward(d_out.transpose(0, 1).to(at::kDouble));
    AttentionOptions options;
    options.causal = causal;
    options.scale = 0.2;
    const AttentionResult result = attention(q, k, v, seq, options);
    at::Tensor dq = at::empty_like(q), dk = at::empty_like(k), dv = at::empty_like(v);
    attention_backward(d_out, q, k, v, result, seq, options, dq, dk, dv);
    EXPECT_LT(relative_error(result.out.transpose(0, 1), expected.detach()), 2e-6);
    EXPECT_LT(relative_error(result.lse, at::logsumexp(scores.detach(), 2)), 1e-6);
    EXPECT_LT(relative_error(dq.transpose(0, 1), rq.grad()), 3e-6);
    EXPECT_LT(relative_error(dk.transpose(0, 1), rk.grad()), 3e-6);
    EXPECT_LT(relative_error(dv.transpose(0, 1), rv.grad()), 3e-6);
  }
}

// Neither the neighbours in the pack nor the place in it change a sequence's bits (serving's
// promise).
TEST(Attention, PackingDoesNotChangeASequence) {
  at::manual_seed(3);
  const at::Tensor q = at::randn({90, 2, 32});
  AttentionOptions options;
  const std::vector<int32_t> both = {60, 30}, alone = {30};
  const at::Tensor packed = attention(q, q, q, SeqInfo::self(both), options).out.narrow(0, 60, 30);
  const at::Tensor own = q.narrow(0, 60, 30).contiguous();
  EXPECT_TRUE(at::equal(packed, attention(own, own, own, SeqInfo::self(alone), options).out));
}

TEST(Attention, RefusesWhatDoesNotFit) {
  const std::vector<int32_t> lengths = {4};
  const SeqInfo seq = SeqInfo::self(lengths);
  const at::Tensor x = at::zeros({4, 3, 8}), two = at::zeros({4, 2, 8});
  EXPECT_THROW(attention(x, two, two, seq, {}), Error);
  EXPECT_THROW(attention(x.to(at::kDouble), x, x, seq, {}), Error);
  EXPECT_THROW(attention(at::zeros({3, 3, 8}), x, x, seq, {}), Error);
  const std::vector<int32_t> empty = {3, 0};
  EXPECT_THROW(SeqInfo::self(empty), Error);
}

}  // namespace
}  // namespace trireme::kernels
