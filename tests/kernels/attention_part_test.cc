// Attention to keys that come a part at a time, against the slow reference over all of them: cut at
// places that no vector width divides, laid out in another order, and taken in any order.
#include "trireme/kernels/attention_part.h"

#include <gtest/gtest.h>

#include "tests/kernels/reference.h"
#include "trireme/base/error.h"

namespace trireme::kernels {
namespace {

using trireme::testing::relative_error;

struct Case {
  std::vector<std::vector<int32_t>> pieces;  // of each sequence, in tokens
  int64_t heads, kv_heads, head_size;
  bool causal;
  double dropout;
  at::ScalarType dtype;
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.pieces.size() << " sequences, " << c.heads << "/" << c.kv_heads << " heads of "
             << c.head_size << (c.causal ? ", causal" : "") << ", dropout " << c.dropout << ", "
             << at::toString(c.dtype);
}

// Where pieces lie: queries all in one tensor, keys in kParts; later pieces first, with rows
// between that belong to none.
struct Layout {
  static constexpr int kParts = 3;
  std::vector<SequenceRuns> sequences[kParts];
  std::vector<int64_t> query_row, key_row;  // of each row of the whole
  std::vector<int> key_part;
  int64_t query_rows = 2, key_rows[kParts] = {1, 1, 1};

  explicit Layout(const std::vector<std::vector<int32_t>>& pieces) {
    for (auto& part : sequences) part.resize(pieces.size());
    int64_t before = 0;
    for (size_t b = 0; b < pieces.size(); ++b) {
      int32_t length = 0;
      for (const int32_t rows : pieces[b]) length += rows;
      const auto whole = static_cast<size_t>(before + length);
      query_row.resize(whole), key_row.resize(whole), key_part.resize(whole);
      int32_t start = length;
      for (size_t i = pieces[b].size(); i-- > 0;) {
        const int32_t rows = pieces[b][i];
        start -= rows;
        const auto part = static_cast<int>(i % kParts);
        const RowRun queries{static_cast<int32_t>(query_rows), rows, start};
        const RowRun keys{static_cast<int32_t>(key_rows[part]), rows, start};
        for (auto& p : sequences) p[b].queries.push_back(queries);
        sequences[part][b].keys.push_back(keys);
        for (int32_t t = 0; t < rows; ++t) {
          const auto at = static_cast<size_t>(before + start + t);
          query_row[at] = queries.row + t;
          key_row[at] = keys.row + t;
          key_part[at] = part;
        }
        query_rows += rows + 1;
        key_rows[part] += rows + 2;
      }
      before += length;
    }
  }
  at::Tensor to_queries(const at::Tensor& whole) const {
    at::Tensor out = at::full({query_rows, whole.size(1), whole.size(2)}, 3.0, whole.options());
    return out.index_copy_(0, at::tensor(query_row), whole);
  }
  at::Tensor from_queries(const at::Tensor& x) const {
    return x.index_select(0, at::tensor(query_row));
  }
  at::Tensor to_part(const at::Tensor& whole, int part) const {
    at::Tensor out = at::full({key_rows[part], whole.size(1), whole.size(2)}, 5.0, whole.options());
    for (size_t t = 0; t < key_row.size(); ++t) {
      if (key_part[t] == part) out[key_row[t]] = whole[static_cast<int64_t>(t)];
    }
    return out;
  }
  at::Tensor from_parts(const std::vector<at::Tensor>& parts) const {
    std::vector<at::Tensor> rows;
    for (size_t t = 0; t < key_row.size(); ++t)
      rows.push_back(parts[static_cast<size_t>(key_part[t])][key_row[t]]);
    return at::stack(rows);
  }
};

class AttentionPartTest : public ::testing::TestWithParam<Case> {};

TEST_P(AttentionPartTest, PartsEqualTheWhole) {
  const Case& c = GetParam();
  at::manual_seed(4);
  const Layout layout(c.pieces);
  std::vector<int32_t> lengths, samples, positions;
  for (size_t b = 0; b < c.pieces.size(); ++b) {
    lengths.push_back(0);
    for (const int32_t rows : c.pieces[b]) lengths.back() += rows;
    for (int32_t t = 0; t < lengths.back(); ++t) {
      samples.push_back(static_cast<int32_t>(9 - b));
      positions.push_back(t);
    }
  }
  const SeqInfo seq = SeqInfo::self(lengths);
  const int64_t T = seq.real_tokens();
  const at::Tensor q = at::randn({T, c.heads, c.head_size}).to(c.dtype),
                   k = at::randn({T, c.kv_heads, c.head_size}).to(c.dtype),
                   v = at::randn({T, c.kv_heads, c.head_size}).to(c.dtype),
                   d_out = at::randn({T, c.heads, c.head_size}).to(c.dtype);
  const DropoutKey whole_key{5, 8, at::tensor(samples, at::kInt), at::tensor(positions, at::kInt)};
  const Dropout dropout{c.dropout, dropout_site(SiteKind::kAttentionProbs, 1)};
  const auto leaf = [](const at::Tensor& x) { return x.to(at::kDouble).set_requires_grad(true); };
  const at::Tensor rq = leaf(q), rk = leaf(k), rv = leaf(v);
  const at::Tensor expected =
      reference::attention(rq, rk, rv, seq, c.causal, 0.3, dropout, whole_key);
  expected.backward(d_out.to(at::kDouble));

  DropoutKey key = whole_key;
  for (at::Tensor* rows : {&key.row_sample, &key.row_position})
    *rows = at::zeros({layout.query_rows}, at::kInt)
                .index_copy_(0, at::tensor(layout.query_row), *rows);
  const AttentionOptions options{c.causal, 0.3, dropout, key};
  const at::Tensor here_q = layout.to_queries(q), here_d = layout.to_queries(d_out);
  AttentionSums sums = attention_sums(layout.query_rows, c.heads, c.head_size);
  for (const int part : {1, 2, 0}) {
    attention_add(here_q, layout.to_part(k, part), layout.to_part(v, part), layout.sequences[part],
                  options, sums);
  }
  const double bound = c.dtype == at::kFloat ? 2e-6 : 1e-2;
  EXPECT_LT(relative_error(layout.from_queries(sums.out), expected.detach()), bound);
  EXPECT_EQ(sums.out[0].abs().sum().item<float>(), 0.0f);  // a row of no sequence

  const at::Tensor delta = attention_delta(here_d, sums.out.to(c.dtype));
  at::Tensor dq = at::zeros_like(sums.out);
  std::vector<at::Tensor> dk, dv;
  for (const int part : {0, 1, 2}) {
    const at::Tensor part_k = layout.to_part(k, part), part_v = layout.to_part(v, part);
    dk.push_back(at::zeros(part_k.sizes(), at::kFloat));
    dv.push_back(at::zeros(part_v.sizes(), at::kFloat));
    attention_backward_add(here_d, delta, sums.lse, here_q, part_k, part_v, layout.sequences[part],
                           options, dq, dk.back(), dv.back());
  }
  EXPECT_LT(relative_error(layout.from_queries(dq), rq.grad()), bound);
  EXPECT_LT(relative_error(layout.from_parts(dk), rk.grad()), bound);
  EXPECT_LT(relative_error(layout.from_parts(dv), rv.grad()), bound);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, AttentionPartTest,
    ::testing::Values(Case{{{5, 6, 1, 9}, {13}}, 2, 2, 8, false, 0.0, at::kFloat},
                      Case{{{5, 6, 1, 9}, {2, 7}}, 3, 3, 16, true, 0.0, at::kFloat},
                      Case{{{11, 10, 13, 9, 21}}, 4, 2, 32, true, 0.25, at::kFloat},
                      Case{{{33, 1, 30}, {7}, {1, 1, 1}}, 2, 1, 20, false, 0.1, at::kFloat},
                      Case{{{17, 18, 17, 18}}, 2, 2, 32, false, 0.1, at::kBFloat16},
                      Case{{{21, 3, 20}, {4, 4}}, 4, 4, 64, true, 0.2, at::kBFloat16}));

// The element of a draw is the key's position: over more than one refill of a row's draws, and from
// any start.
TEST(AttentionPart, DrawsOfLongRowsAreTheWholes) {
  at::manual_seed(5);
  const int32_t T = 2300, cut = 1101;
  const std::vector<int32_t> lengths = {T};
  const at::Tensor q = at::randn({T, 1, 8});
  const AttentionOptions options{
      true, 0.3, {0.3, 7}, {1, 2, at::zeros({T}, at::kInt), at::arange(T, at::kInt)}};
  const AttentionResult whole = attention(q, q, q, SeqInfo::self(lengths), options);
  AttentionSums sums = attention_sums(T, 1, 8);
  for (const RowRun& keys : {RowRun{cut, T - cut, cut}, RowRun{0, cut, 0}}) {
    const std::vector<SequenceRuns> sequences = {{{{0, T, 0}}, {keys}}};
    attention_add(q, q, q, sequences, options, sums);
  }
  EXPECT_LT(relative_error(sums.out, whole.out), 2e-6);
  EXPECT_LT(relative_error(sums.lse, whole.lse), 1e-6);
}

TEST(AttentionPart, RefusesRunsOutsideTheTensors) {
  const at::Tensor x = at::zeros({4, 2, 8});
  AttentionSums sums = attention_sums(4, 2, 8);
  for (const SequenceRuns& runs :
       {SequenceRuns{{{1, 4, 0}}, {{0, 4, 0}}}, SequenceRuns{{{0, 4, 0}}, {{2, 3, 0}}},
        SequenceRuns{{{0, 0, 0}}, {{0, 4, 0}}}}) {
    EXPECT_THROW(attention_add(x, x, x, std::vector{runs}, {}, sums), Error);
  }
  AttentionSums narrow = attention_sums(3, 2, 8);
  EXPECT_THROW(attention_add(x, x, x, {}, {}, narrow), Error);
}

}  // namespace
}  // namespace trireme::kernels
