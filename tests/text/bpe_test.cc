#include "trireme/text/bpe.h"

#include <numeric>

#include "tests/text/text_util.h"
#include "trireme/base/random.h"

namespace trireme::text {
namespace {

using Merges = std::vector<std::pair<std::string, std::string>>;

Encoding encode(const Bpe& bpe, std::string_view piece) {
  std::vector<std::uint32_t> source(piece.size());
  std::iota(source.begin(), source.end(), 0);
  Encoding out;
  bpe.encode({piece, source.data()}, out);
  return out;
}

// Ids and offsets, in bytes.
std::string pieces(const Bpe& bpe, std::string_view piece) {
  const Encoding out = encode(bpe, piece);
  std::string text;
  for (std::size_t i = 0; i < out.size(); ++i) {
    text += cat(i > 0 ? " " : "", out.ids[i], ":", out.offsets[i].begin, "-", out.offsets[i].end);
  }
  return text;
}

// The byte alphabet by value, and behind it the tokens given.
std::vector<VocabEntry> vocab_with(std::initializer_list<std::string_view> tokens) {
  std::vector<VocabEntry> vocab;
  for (int byte = 0; byte < 256; ++byte) {
    std::string token;
    append_utf8(token, char_of_byte(static_cast<std::uint8_t>(byte)));
    vocab.emplace_back(token, byte);
  }
  for (const std::string_view token : tokens) {
    vocab.emplace_back(token, static_cast<std::int32_t>(vocab.size()));
  }
  return vocab;
}

TEST(Bpe, JoinsTheLowestRankFirst) {
  const auto vocab = vocab_with({"bc", "ab", "abc"});
  const Bpe first_bc(vocab, {.merges = Merges{{"b", "c"}, {"a", "b"}, {"ab", "c"}}}, "v");
  EXPECT_EQ(pieces(first_bc, "abc"), "97:0-1 256:1-3");
  const Bpe first_ab(vocab, {.merges = Merges{{"a", "b"}, {"b", "c"}, {"ab", "c"}}}, "v");
  EXPECT_EQ(pieces(first_ab, "abc"), "258:0-3");
}

TEST(Bpe, OfEqualPairsTheLeftmostFirst) {
  const Bpe bpe(vocab_with({"aa"}), {.merges = Merges{{"a", "a"}}}, "v");
  EXPECT_EQ(pieces(bpe, "aaa"), "256:0-2 97:2-3");
  EXPECT_EQ(pieces(bpe, "aaaa"), "256:0-2 256:2-4");
}

TEST(Bpe, WorksOnBytes) {
  // é is C3 A9, "Ã©" in the alphabet.
  const Bpe bpe(vocab_with({"Ã©"}), {.merges = Merges{{"Ã", "©"}}}, "v");
  EXPECT_EQ(pieces(bpe, "\xC3\xA9"), "256:0-2");
  EXPECT_EQ(pieces(bpe, "\xC3"), "195:0-1");
}

TEST(Bpe, ATokenThatItsMergesDoNotGiveIsNoWholePiece) {
  const auto vocab = vocab_with({"ab", "abc"});
  const Bpe bpe(vocab, {.merges = Merges{{"a", "b"}}}, "v");
  EXPECT_EQ(pieces(bpe, "abc"), "256:0-2 99:2-3");
  const Bpe ignoring(vocab, {.merges = Merges{{"a", "b"}}, .ignore_merges = true}, "v");
  EXPECT_EQ(pieces(ignoring, "abc"), "257:0-3");
  EXPECT_EQ(pieces(ignoring, "abcd"), "256:0-2 99:2-3 100:3-4");
}

// The algorithm as its paper has it, without any data structure.
std::vector<std::string> merge_plainly(std::vector<std::string> symbols, const Merges& merges) {
  while (true) {
    std::size_t best = merges.size();
    std::size_t at = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto rank = static_cast<std::size_t>(
          std::ranges::find(merges, std::pair(symbols[i], symbols[i + 1])) - merges.begin());
      if (rank < best) best = rank, at = i;
    }
    if (best == merges.size()) return symbols;
    symbols[at] += symbols[at + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(at) + 1);
  }
}

TEST(Bpe, ShortAndLongPiecesFollowThePlainAlgorithm) {
  const Merges merges = {{"a", "b"}, {"b", "a"}, {"ab", "ab"},  {"c", "ab"},  {"ba", "c"},
                         {"a", "a"}, {"b", "b"}, {"abab", "c"}, {"aa", "bb"}, {"cab", "cab"}};
  const auto vocab =
      vocab_with({"ab", "ba", "abab", "cab", "bac", "aa", "bb", "ababc", "aabb", "cabcab"});
  const Bpe bpe(vocab, {.merges = merges}, "v");
  std::uint64_t state = 1;
  for (int n = 0; n < 2000; ++n) {
    std::string piece;
    std::vector<std::string> symbols;
    state = splitmix64(state);
    for (std::uint64_t left = 1 + state % 80; left > 0; --left) {
      state = splitmix64(state);
      piece += static_cast<char>('a' + state % 3);
      symbols.emplace_back(1, piece.back());
    }
    std::string plain;
    for (const std::string& s : merge_plainly(symbols, merges)) plain += s + " ";
    std::string ours;
    for (const std::int32_t id : encode(bpe, piece).ids) ours += vocab[id].first + " ";
    ASSERT_EQ(ours, plain) << piece;
  }
}

TEST(Bpe, BytesThatAreNotInTheVocabulary) {
  const auto vocab = numbered({"<unk>", "a", "b", "ab"});
  const Merges merges = {{"a", "b"}};
  const Bpe dropped(vocab, {.merges = merges}, "v");
  EXPECT_EQ(pieces(dropped, "axxb"), "3:0-2") << "left out, and what is left is joined";
  const Bpe unknown(vocab, {.merges = merges, .unk_token = "<unk>"}, "v");
  EXPECT_EQ(pieces(unknown, "axxb"), "1:0-1 0:1-2 0:2-3 2:3-4");
  const Bpe fused(vocab, {.merges = merges, .unk_token = "<unk>", .fuse_unk = true}, "v");
  EXPECT_EQ(pieces(fused, "axxb"), "1:0-1 0:1-3 2:3-4");
  EXPECT_EQ(fused.unk_id(), 0);
}

TEST(Bpe, VocabularyAndMergesMustFit) {
  const auto vocab = numbered({"a", "b", "ab"});
  EXPECT_EQ(
      test::input_error_of([&] {
        Bpe(vocab, {.merges = Merges{{"a", "b"}, {"a", "c"}}}, "m");
      }),
      "m: merge 2 ('a' 'c'): 'c' is not in the vocabulary; the vocabulary and the merges must "
      "be of the same tokenizer");
  EXPECT_EQ(
      test::input_error_of([&] {
        Bpe(vocab, {.merges = Merges{{"b", "a"}}}, "m");
      }),
      "m: merge 1 ('b' 'a'): 'ba' is not in the vocabulary; the vocabulary and the merges must "
      "be of the same tokenizer");
  EXPECT_EQ(test::input_error_of([&] { Bpe(vocab, {.merges = {}, .unk_token = "?"}, "m"); }),
            "m: the vocabulary has no unknown token '?'; add it, or set unk_token to null");
}

}  // namespace
}  // namespace trireme::text
