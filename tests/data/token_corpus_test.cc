#include "trireme/data/token_corpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/base/test_util.h"
#include "tests/data/corpus.h"
#include "trireme/base/files.h"

namespace trireme::data {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using trireme::test::input_error_of;
using trireme::test::TempDir;
using trireme::testing::write_corpus;

std::vector<int32_t> document(const TokenCorpus& corpus, int64_t d) {
  std::vector<int32_t> ids(static_cast<size_t>(corpus.length(d)));
  corpus.read(d, 0, ids);
  return ids;
}

std::string hash_of(const TokenCorpus& corpus) {
  Xxh3 hash;
  corpus.add_to(hash);
  return hash.hex();
}

TEST(TokenCorpus, SeveralShardsAreOneWithoutEmptyDocuments) {
  const TempDir dir;
  write_corpus(dir / "a", {2, 0, 3});
  write_corpus(dir / "b", {1, 2}, /*first=*/100);
  const TokenCorpus corpus({dir / "a", dir / "b"}, {}, 65000);
  EXPECT_EQ(corpus.documents(), 4);
  EXPECT_EQ(corpus.tokens(), 8);
  EXPECT_THAT(document(corpus, 0), ElementsAre(0, 1));
  EXPECT_THAT(document(corpus, 1), ElementsAre(2, 3, 4));
  EXPECT_THAT(document(corpus, 2), ElementsAre(100));
  EXPECT_THAT(document(corpus, 3), ElementsAre(101, 102));
  std::vector<int32_t> part(2);
  corpus.read(1, 1, part);
  EXPECT_THAT(part, ElementsAre(3, 4));
}

// An index may cut a document into sequences (Megatron-LM's --split-sentences).
TEST(TokenCorpus, ADocumentIsItsSequencesEndToEnd) {
  const TempDir dir;
  write_corpus(dir / "a", {2, 3, 1});
  std::string index = read_file(dir / "a.idx");
  const int64_t documents[] = {0, 2, 3};  // instead of 0, 1, 2, 3
  index.resize(index.size() - 4 * sizeof(int64_t));
  index.append(reinterpret_cast<const char*>(documents), sizeof(documents));
  index[26] = 3;  // the number of document entries
  write_file_atomic(dir / "a.idx", index);
  const TokenCorpus corpus({dir / "a"}, {}, 65000);
  EXPECT_EQ(corpus.documents(), 2);
  EXPECT_THAT(document(corpus, 0), ElementsAre(0, 1, 2, 3, 4));
  std::vector<int32_t> part(3);
  corpus.read(0, 1, part);
  EXPECT_THAT(part, ElementsAre(1, 2, 3));
}

TEST(TokenCorpus, TheSplitSharesNothingAndLeavesNothingOut) {
  const TempDir dir;
  write_corpus(dir / "a", std::vector<int64_t>(400, 2));
  write_corpus(dir / "b", std::vector<int64_t>(100, 2), /*first=*/1000);
  const auto firsts = [&](const std::vector<std::string>& prefixes, CorpusPart part,
                          uint64_t seed) {
    const TokenCorpus corpus(prefixes, {0.1, seed, part}, 65000);
    std::set<int32_t> out;
    for (int64_t d = 0; d < corpus.documents(); ++d) out.insert(document(corpus, d)[0]);
    return out;
  };
  const auto dev = firsts({dir / "a", dir / "b"}, CorpusPart::kDev, 1);
  // Training may read the shards apart (a blend), evaluation together.
  auto train = firsts({dir / "a"}, CorpusPart::kTrain, 1);
  train.merge(firsts({dir / "b"}, CorpusPart::kTrain, 1));
  EXPECT_EQ(train.size() + dev.size(), 500u);
  for (const int32_t token : dev) EXPECT_EQ(train.count(token), 0u);
  EXPECT_GT(dev.size(), 25u);
  EXPECT_LT(dev.size(), 80u);
  EXPECT_NE(firsts({dir / "a", dir / "b"}, CorpusPart::kDev, 2), dev);
}

TEST(TokenCorpus, TheHashTellsContentsApart) {
  const TempDir dir;
  write_corpus(dir / "a", {3, 4});
  write_corpus(dir / "same", {3, 4});
  write_corpus(dir / "cut", {4, 3});
  write_corpus(dir / "other", {3, 4}, /*first=*/1);
  const std::string a = hash_of(TokenCorpus({dir / "a"}, {}, 65000));
  EXPECT_EQ(hash_of(TokenCorpus({dir / "same"}, {}, 65000)), a);
  EXPECT_NE(hash_of(TokenCorpus({dir / "cut"}, {}, 65000)), a);
  EXPECT_NE(hash_of(TokenCorpus({dir / "other"}, {}, 65000)), a);
}

TEST(TokenCorpus, SaysWhatIsWrong) {
  const TempDir dir;
  write_corpus(dir / "a", {3});
  const auto open = [&](const std::string& prefix, const CorpusSplit& split = {}) {
    return input_error_of([&] { TokenCorpus({prefix}, split, 65000); });
  };
  EXPECT_THAT(open(dir / "none"), HasSubstr("none.bin; `trireme data prepare`"));
  write_file_atomic(dir / "raw.txt", "text");
  EXPECT_THAT(open(dir / "raw.txt"), HasSubstr("raw.txt: is not tokenised yet"));
  write_corpus(dir / "empty", {0, 0});
  EXPECT_THAT(open(dir / "empty"), HasSubstr("holds no tokens"));
  EXPECT_THAT(open(dir / "a", {0.9999999, 1, CorpusPart::kTrain}), HasSubstr("data.split"));
  const TokenCorpus small({dir / "a"}, {}, /*vocab_size=*/2);
  EXPECT_THAT(input_error_of([&] { document(small, 0); }),
              HasSubstr("document 0 holds token 2, the model has a vocabulary of 2"));
}

}  // namespace
}  // namespace trireme::data
