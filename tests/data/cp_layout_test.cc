#include "trireme/data/cp_layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <numeric>

#include "trireme/base/error.h"
#include "trireme/base/random.h"

namespace trireme::data {
namespace {

using testing::HasSubstr;

// (sequence, begin, rows) of a rank, in order.
using Pieces = std::vector<std::array<int32_t, 3>>;

Pieces pieces_of(const CpLayout& layout, size_t rank) {
  Pieces pieces;
  for (const CpPiece& piece : layout.ranks[rank])
    pieces.push_back({piece.sequence, piece.begin, piece.rows});
  return pieces;
}

TEST(CpLayout, HeadAndTailOfASequence) {
  const CpLayout layout = cp_layout(std::vector<int32_t>{60}, 3);
  EXPECT_EQ(pieces_of(layout, 0), (Pieces{{0, 0, 10}, {0, 50, 10}}));
  EXPECT_EQ(pieces_of(layout, 1), (Pieces{{0, 10, 10}, {0, 40, 10}}));
  EXPECT_EQ(pieces_of(layout, 2), (Pieces{{0, 20, 10}, {0, 30, 10}}));
  EXPECT_EQ(layout.rows, 64);
  EXPECT_EQ(layout.cut_rows, 20);
}

TEST(CpLayout, ShortSequencesLieWholeBehindTheCutOnes) {
  const CpLayout layout = cp_layout(std::vector<int32_t>{3, 8, 2, 1}, 2);
  EXPECT_EQ(pieces_of(layout, 0), (Pieces{{1, 0, 2}, {1, 6, 2}, {0, 0, 3}}));
  EXPECT_EQ(pieces_of(layout, 1), (Pieces{{1, 2, 2}, {1, 4, 2}, {2, 0, 2}, {3, 0, 1}}));
  EXPECT_EQ(layout.cut_rows, 4);
}

TEST(CpLayout, NothingToCut) {
  EXPECT_EQ(cp_layout({}, 4).rows, 64);
  EXPECT_EQ(cp_layout({}, 4).cut_rows, 0);
  const CpLayout one = cp_layout(std::vector<int32_t>{70, 5}, 1);
  EXPECT_EQ(pieces_of(one, 0), (Pieces{{0, 0, 70}, {1, 0, 5}}));
  EXPECT_EQ(one.rows, 128);
  EXPECT_EQ(one.cut_rows, 0);
}

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInput);
    return e.what();
  }
  return "no error";
}

TEST(CpLayout, Refuses) {
  EXPECT_THAT(message_of([] { cp_layout({}, 0); }), HasSubstr("cp = 0"));
  EXPECT_THAT(message_of([] { cp_layout(std::vector<int32_t>{4, 0}, 2); }), HasSubstr("0 tokens"));
}

// Pairs of a query and a key under the causal mask that a rank's queries make.
int64_t causal_pairs(const std::vector<CpPiece>& pieces) {
  int64_t pairs = 0;
  for (const CpPiece& p : pieces)
    pairs += int64_t{p.rows} * p.begin + int64_t{p.rows} * (p.rows + 1) / 2;
  return pairs;
}

class CpLayoutProperty : public testing::TestWithParam<int> {};

TEST_P(CpLayoutProperty, HoldsOnRandomBatches) {
  uint64_t next = 0;
  const auto between = [&](int64_t low, int64_t high) {
    return low + static_cast<int64_t>(uniform_below(static_cast<uint64_t>(high - low + 1), 7,
                                                    static_cast<uint64_t>(GetParam()), next++));
  };
  for (int round = 0; round < 1000; ++round) {
    const int cp = static_cast<int>(between(1, 9));
    const int64_t shortest = between(1, 60), longest = between(shortest, 400);
    std::vector<int32_t> lengths(static_cast<size_t>(between(0, 60)));
    for (int32_t& length : lengths) length = static_cast<int32_t>(between(shortest, longest));
    SCOPED_TRACE(testing::Message()
                 << "round " << round << ", " << lengths.size() << " sequences, cp " << cp);
    const CpLayout layout = cp_layout(lengths, cp);

    ASSERT_EQ(layout.cp(), cp);
    ASSERT_EQ(layout.rows % 64, 0);
    std::vector<std::vector<int>> seen;
    for (const int32_t length : lengths) seen.emplace_back(static_cast<size_t>(length), 0);
    std::vector<int64_t> totals;
    for (const std::vector<CpPiece>& pieces : layout.ranks) {
      int32_t row = 0;
      bool cut = true;
      std::map<int32_t, int> count;
      for (size_t i = 0; i < pieces.size(); ++i) {
        const CpPiece& p = pieces[i];
        ASSERT_EQ(p.row, row);
        ASSERT_GE(p.rows, 1);
        row += p.rows;
        const int32_t length = lengths[static_cast<size_t>(p.sequence)];
        const bool is_cut = cp > 1 && length >= 2 * cp;
        ASSERT_TRUE(cut || !is_cut);  // those come first
        cut = is_cut;
        if (is_cut) {
          ASSERT_LE(row, layout.cut_rows);
          ASSERT_GE(p.rows, length / (2 * cp));
          ASSERT_LE(p.rows, length / (2 * cp) + 1);
          // Two pieces a rank, side by side, the earlier one first.
          if (count[p.sequence]++ == 1) {
            ASSERT_EQ(pieces[i - 1].sequence, p.sequence);
            ASSERT_LT(pieces[i - 1].begin, p.begin);
          }
        } else {
          ASSERT_EQ(p.rows, length);
        }
        std::vector<int>& rows = seen[static_cast<size_t>(p.sequence)];
        for (int32_t t = p.begin; t < p.begin + p.rows; ++t) ++rows[static_cast<size_t>(t)];
      }
      for (const auto& [sequence, pieces_here] : count) ASSERT_EQ(pieces_here, 2);
      ASSERT_LE(row, layout.rows);
      totals.push_back(row);
    }
    for (const std::vector<int>& rows : seen)
      for (const int times : rows) ASSERT_EQ(times, 1);
    const auto [least, most] = std::minmax_element(totals.begin(), totals.end());
    ASSERT_LT(*most - *least, 2 * cp);
    if (shortest >= 2 * cp) {
      ASSERT_LE(*most - *least, 1);
    }
    ASSERT_EQ(layout.rows, std::max<int64_t>(1, (*most + 63) / 64) * 64);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, CpLayoutProperty, testing::Range(0, 3));

// Each rank's queries make as many pairs with keys as any other's, to a row or two.
TEST(CpLayout, CausalWorkIsEven) {
  for (int cp = 2; cp <= 8; ++cp) {
    for (int32_t length = 2 * cp; length < 700; length += 13) {
      const CpLayout layout = cp_layout(std::vector<int32_t>{length}, cp);
      std::vector<int64_t> pairs;
      for (const auto& pieces : layout.ranks) pairs.push_back(causal_pairs(pieces));
      const int64_t total = std::accumulate(pairs.begin(), pairs.end(), int64_t{0});
      ASSERT_EQ(total, int64_t{length} * (length + 1) / 2);
      for (const int64_t mine : pairs)
        ASSERT_LE(std::abs(mine - total / cp), int64_t{length}) << "cp " << cp << ", " << length;
    }
  }
}

}  // namespace
}  // namespace trireme::data
