// Token shards against files put together byte by byte from the format's description.
#include "trireme/data/token_shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "tests/base/test_util.h"
#include "trireme/base/error.h"

namespace trireme::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using trireme::test::TempDir;

template <class T>
std::string le(std::initializer_list<T> values) {
  std::string bytes;
  for (const T value : values) {
    for (size_t i = 0; i < sizeof(T); ++i)
      bytes += static_cast<char>(static_cast<uint64_t>(value) >> (8 * i));
  }
  return bytes;
}

std::string index_bytes(uint8_t type, std::initializer_list<int32_t> lengths,
                        std::initializer_list<int64_t> places,
                        std::initializer_list<int64_t> documents) {
  return std::string("MMIDIDX\0\0", 9) + le<uint64_t>({1}) + le<uint8_t>({type}) +
         le<uint64_t>({lengths.size()}) + le<uint64_t>({documents.size()}) + le<int32_t>(lengths) +
         le<int64_t>(places) + le<int64_t>(documents);
}

// Three sequences of uint16, the middle one empty; two documents.
std::string good() {
  return index_bytes(8, {2, 0, 3}, {0, 4, 4}, {0, 2, 3});
}

std::vector<int64_t> tokens(const TokenShard& shard, int64_t sequence) {
  std::vector<int64_t> ids(static_cast<size_t>(shard.length(sequence)));
  shard.read(sequence, 0, ids);
  return ids;
}

std::string refusal(const std::string& bytes, uint64_t data_bytes = 10) {
  try {
    parse_token_index(bytes, data_bytes, "a.idx");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInput);
    EXPECT_THAT(error.what(), HasSubstr("a.idx"));
    return error.what();
  }
  return "accepted";
}

TEST(TokenShard, ReadsAHandMadeFile) {
  const TempDir dir;
  write_file_atomic(dir / "s.idx", good());
  write_file_atomic(dir / "s.bin", le<uint16_t>({7, 65499, 1, 2, 3}));
  const TokenShard shard(dir / "s");
  EXPECT_EQ(shard.sequences(), 3);
  EXPECT_EQ(shard.documents(), 2);
  EXPECT_EQ(shard.tokens(), 5);
  EXPECT_THAT(tokens(shard, 0), ElementsAre(7, 65499));
  EXPECT_THAT(tokens(shard, 1), ElementsAre());
  EXPECT_THAT(tokens(shard, 2), ElementsAre(1, 2, 3));
  std::vector<int64_t> part(2);
  shard.read(2, 1, part);
  EXPECT_THAT(part, ElementsAre(2, 3));
  EXPECT_THROW(shard.read(2, 2, part), Error);
  EXPECT_THROW(shard.read(3, 0, part), Error);
  EXPECT_THROW(shard.read(-1, 0, part), Error);
}

TEST(TokenShard, ReadsEveryType) {
  const TempDir dir;
  const std::pair<uint8_t, std::string> cases[] = {{1, le<uint8_t>({5, 100})},
                                                   {3, le<int16_t>({5, 100})},
                                                   {4, le<int32_t>({5, 100})},
                                                   {5, le<int64_t>({5, 100})},
                                                   {8, le<uint16_t>({5, 100})}};
  for (const auto& [type, data] : cases) {
    write_file_atomic(dir / "s.idx", index_bytes(type, {2}, {0}, {0, 1}));
    write_file_atomic(dir / "s.bin", data);
    EXPECT_THAT(tokens(TokenShard(dir / "s"), 0), ElementsAre(5, 100)) << int{type};
  }
  write_file_atomic(dir / "s.idx", index_bytes(4, {2}, {0}, {0, 1}));
  write_file_atomic(dir / "s.bin", le<int32_t>({5, -1}));
  EXPECT_THROW(tokens(TokenShard(dir / "s"), 0), Error);
}

TEST(TokenShard, MalformedIndexesAreRefusedByName) {
  EXPECT_EQ(refusal(good()), "accepted");
  EXPECT_EQ(refusal(good() + "mmm"), "accepted");  // modes of multimodal data
  for (size_t size = 0; size < good().size(); ++size)
    EXPECT_NE(refusal(good().substr(0, size)), "accepted") << size;
  std::string other = good();
  other[0] = 'X';
  EXPECT_THAT(refusal(other), HasSubstr("does not begin with MMIDIDX"));
  other = good();
  other[9] = 2;
  EXPECT_THAT(refusal(other), HasSubstr("version 2"));
  EXPECT_THAT(refusal(index_bytes(7, {}, {}, {0})), HasSubstr("element type 7 is none of tokens"));
  EXPECT_THAT(refusal(index_bytes(0, {}, {}, {0})), HasSubstr("element type 0"));
  EXPECT_THAT(refusal(index_bytes(2, {}, {}, {0})), HasSubstr("element type 2"));
  EXPECT_THAT(refusal(good() + "x"), HasSubstr("1 bytes stand behind"));
  EXPECT_THAT(refusal(good(), 9), HasSubstr("sequence 2 (3 tokens at byte 4) is not inside"));
  EXPECT_THAT(refusal(index_bytes(8, {-1}, {0}, {0, 1})), HasSubstr("sequence 0 has -1 tokens"));
  EXPECT_THAT(refusal(index_bytes(8, {1}, {-2}, {0, 1})), HasSubstr("is not inside"));
  EXPECT_THAT(refusal(index_bytes(5, {2147483647}, {INT64_MAX}, {0, 1})),
              HasSubstr("is not inside"));
  EXPECT_THAT(refusal(index_bytes(8, {1, 1}, {0, 2}, {0, 1})), HasSubstr("end at 2"));
  EXPECT_THAT(refusal(index_bytes(8, {1, 1}, {0, 2}, {})), HasSubstr("do not begin"));
  EXPECT_THAT(refusal(index_bytes(8, {1, 1}, {0, 2}, {0, 3, 2, 2})),
              HasSubstr("document 2 begins before"));
  // Counts that no memory holds.
  other = good();
  for (size_t i = 18; i < 34; ++i) other[i] = '\x7f';
  EXPECT_THAT(refusal(other), HasSubstr("truncated"));
}

TEST(TokenShardWriter, WritesTheFormat) {
  const TempDir dir;
  TokenShardWriter writer(dir / "s", 65499);
  for (const std::vector<int32_t>& document :
       std::vector<std::vector<int32_t>>{{7, 65498}, {}, {1, 2, 3}}) {
    writer.add(document);
  }
  EXPECT_FALSE(file_exists(dir / "s.idx"));
  writer.commit();
  EXPECT_EQ(read_file(dir / "s.idx"), index_bytes(8, {2, 0, 3}, {0, 4, 4}, {0, 1, 2, 3}));
  EXPECT_EQ(read_file(dir / "s.bin"), le<uint16_t>({7, 65498, 1, 2, 3}));
}

TEST(TokenShardWriter, LargeVocabulariesTakeInt32) {
  const TempDir dir;
  TokenShardWriter writer(dir / "s", 65500);
  writer.add(std::vector<int32_t>{65499});
  writer.commit();
  EXPECT_EQ(read_file(dir / "s.idx"), index_bytes(4, {1}, {0}, {0, 1}));
  EXPECT_EQ(read_file(dir / "s.bin"), le<int32_t>({65499}));
}

TEST(TokenShardWriter, RefusesTokensOutsideTheVocabularyAndLeavesNothing) {
  const TempDir dir;
  {
    TokenShardWriter writer(dir / "s", 100);
    EXPECT_THROW(writer.add(std::vector<int32_t>{100}), Error);
    EXPECT_THROW(writer.add(std::vector<int32_t>{-1}), Error);
  }
  EXPECT_TRUE(list_dir(dir.path()).empty());
  EXPECT_THROW(TokenShardWriter(dir / "missing/s", 100), Error);
}

// A crash between the two renames leaves no index that speaks of other data.
TEST(TokenShardWriter, AnInterruptedCommitLeavesNoOldIndex) {
  const TempDir dir;
  TokenShardWriter(dir / "s", 100).commit();
  TokenShardWriter second(dir / "s", 100);
  second.add(std::vector<int32_t>{1});
  set_file_fault([](FileStep step, const std::string& path) {
    return step == FileStep::kRename && path.ends_with(".idx") ? EIO : 0;
  });
  EXPECT_THROW(second.commit(), Error);
  set_file_fault({});
  EXPECT_THROW(TokenShard(dir / "s"), Error);
}

}  // namespace
}  // namespace trireme::data
