#include "trireme/data/lm_windows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "tests/base/test_util.h"
#include "tests/data/corpus.h"

namespace trireme::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using trireme::test::TempDir;
using trireme::testing::write_corpus;

std::vector<int32_t> tokens_of(const std::vector<LmPiece>& pieces) {
  std::vector<int32_t> out;
  for (const LmPiece& piece : pieces) {
    std::vector<int32_t> ids(static_cast<size_t>(piece.length));
    piece.corpus->read(piece.document, piece.begin, ids);
    out.insert(out.end(), ids.begin(), ids.end());
  }
  return out;
}

std::vector<int32_t> epoch_tokens(const LmWindows& windows, int64_t epoch) {
  std::vector<int32_t> out;
  for (int64_t i = 0; i < windows.size(); ++i) {
    const std::vector<int32_t> window = tokens_of(windows.pieces(epoch, i));
    EXPECT_EQ(static_cast<int64_t>(window.size()), windows.length(i));
    out.insert(out.end(), window.begin(), window.end());
  }
  return out;
}

const std::vector<int64_t> kLengths = {5, 1, 17, 3, 8, 2, 40, 6};  // 82 tokens

// Contract: exactly once an epoch, in another order of documents each time.
TEST(LmWindows, EachTokenOnceAnEpoch) {
  const TempDir dir;
  write_corpus(dir / "a", kLengths);
  const TokenCorpus corpus({dir / "a"}, {}, 65000);
  const LmWindows windows({{&corpus}}, {.window_tokens = 16, .seed = 3});
  EXPECT_EQ(windows.size(), 6);
  EXPECT_EQ(windows.length(0), 16);
  EXPECT_EQ(windows.length(5), 2);
  std::vector<int32_t> all(82);
  std::iota(all.begin(), all.end(), 0);
  std::vector<std::vector<int32_t>> orders;
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    orders.push_back(epoch_tokens(windows, epoch));
    std::vector<int32_t> sorted = orders.back();
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(sorted, all);
  }
  EXPECT_NE(orders[0], orders[1]);
  EXPECT_NE(orders[1], orders[2]);
  EXPECT_EQ(epoch_tokens(windows, 0), orders[0]);  // whatever was asked before
  const LmWindows other({{&corpus}}, {.window_tokens = 16, .seed = 4});
  EXPECT_NE(epoch_tokens(other, 0), orders[0]);
}

TEST(LmWindows, PiecesSayWhetherTheirDocumentGoesOn) {
  const TempDir dir;
  write_corpus(dir / "a", {5, 1, 4});
  const TokenCorpus corpus({dir / "a"}, {}, 65000);
  std::vector<LmPiece> pieces;
  CorpusStream(corpus).append(3, 8, pieces);
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_THAT(tokens_of(pieces), ElementsAre(3, 4, 5, 6, 7));
  EXPECT_EQ(pieces[0].begin, 3);
  EXPECT_FALSE(pieces[0].goes_on);
  EXPECT_FALSE(pieces[1].goes_on);
  EXPECT_TRUE(pieces[2].goes_on);
}

TEST(LmWindows, ABlendTakesItsSharesAndEveryTokenOfAPass) {
  const TempDir dir;
  write_corpus(dir / "a", kLengths);
  write_corpus(dir / "b", {7, 4, 30}, /*first=*/1000);  // 41 tokens
  const TokenCorpus a({dir / "a"}, {}, 65000), b({dir / "b"}, {}, 65000);
  const LmWindows windows({{&a, 3}, {&b, 5}}, {.window_tokens = 8, .seed = 1});
  // 123 tokens fill 16 windows: 6 and 10.
  EXPECT_EQ(windows.size(), 16);
  EXPECT_THAT(windows.shares(), ElementsAre(6, 10));
  std::map<int32_t, int> uses;
  constexpr int64_t kEpochs = 41;  // 41 * 6 * 8 = 24 passes over a, 41 * 10 * 8 = 80 over b
  for (int64_t epoch = 0; epoch < kEpochs; ++epoch) {
    int64_t of_b = 0;
    for (const int32_t token : epoch_tokens(windows, epoch)) {
      ++uses[token];
      if (token >= 1000) ++of_b;
    }
    EXPECT_EQ(of_b, 80);
  }
  for (const auto& [token, count] : uses) EXPECT_EQ(count, token < 1000 ? 24 : 80) << token;
  EXPECT_EQ(uses.size(), 123u);
}

// A corpus smaller than a window goes round more than once in it.
TEST(LmWindows, ATinyCorpusInABlend) {
  const TempDir dir;
  write_corpus(dir / "a", {100});
  write_corpus(dir / "b", {3}, /*first=*/1000);
  const TokenCorpus a({dir / "a"}, {}, 65000), b({dir / "b"}, {}, 65000);
  const LmWindows windows({{&a, 1}, {&b, 1}}, {.window_tokens = 10, .seed = 1});
  EXPECT_THAT(windows.shares(), ElementsAre(6, 5));
  EXPECT_THAT(tokens_of(windows.pieces(0, 6)),
              ElementsAre(1000, 1001, 1002, 1000, 1001, 1002, 1000, 1001, 1002, 1000));
  EXPECT_THAT(tokens_of(windows.pieces(0, 7)).front(), 1001);
}

TEST(LmWindows, AWeightThatGivesNothingIsAnError) {
  const TempDir dir;
  write_corpus(dir / "a", {100});
  write_corpus(dir / "b", {3}, /*first=*/1000);
  const TokenCorpus a({dir / "a"}, {}, 65000), b({dir / "b"}, {}, 65000);
  EXPECT_THAT(test::input_error_of([&] {
                LmWindows({{&a, 1}, {&b, 1e-6}}, {.window_tokens = 10});
              }),
              HasSubstr("none of the 11 windows"));
}

}  // namespace
}  // namespace trireme::data
