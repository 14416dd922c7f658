#include "trireme/data/lm_batch.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/base/test_util.h"
#include "tests/data/corpus.h"

namespace trireme::data {
namespace {

using ::testing::ElementsAre;

template <class T>
std::vector<T> first_rows(const at::Tensor& t, int64_t n) {
  const at::Tensor head = t.narrow(0, 0, n).contiguous();
  return {head.const_data_ptr<T>(), head.const_data_ptr<T>() + n};
}

TEST(LmBatch, DocumentsAreSequencesWithTheirNextTokens) {
  const test::TempDir dir;
  trireme::testing::write_corpus(dir / "a", {3, 1, 5});
  const TokenCorpus corpus({dir / "a"}, {}, 65000);
  const CorpusStream stream(corpus);
  std::vector<LmBatchItem> items(2);
  items[0].ordinal = 4;
  stream.append(1, 6, items[0].pieces);  // 1 2 | 3 | 4 5 and the document goes on
  items[1].ordinal = 2;
  stream.append(6, 9, items[1].pieces);
  EXPECT_EQ(predicted_tokens(items[0].pieces), 3);
  EXPECT_EQ(predicted_tokens(items[1].pieces), 2);
  const PackedBatch batch = pack_lm(items);
  EXPECT_EQ(batch.rows(), 64);
  EXPECT_THAT(first_rows<int64_t>(batch.tokens, 8), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8));
  EXPECT_THAT(first_rows<int64_t>(batch.positions, 8), ElementsAre(0, 1, 0, 0, 1, 0, 1, 2));
  EXPECT_THAT(first_rows<int64_t>(batch.labels.at(kLmNext), 9),
              ElementsAre(2, -1, -1, 5, 6, 7, 8, -1, -1));
  EXPECT_THAT(batch.seq.cu_q_host, ElementsAre(0, 2, 3, 5, 8));
  EXPECT_THAT(batch.sample, ElementsAre(4, 4, 4, 2));
  EXPECT_FALSE(batch.token_types.defined());

  // Dropout: the documents of one sample differ in their draws, and the first has the sample's.
  const kernels::DropoutKey key = batch.dropout_key(1, 1);
  const std::vector<int32_t> samples = first_rows<int32_t>(key.row_sample, 8);
  EXPECT_EQ(samples[0], 4);
  EXPECT_EQ(samples[1], 4);
  EXPECT_EQ(samples[5], 2);
  EXPECT_NE(samples[2], samples[0]);
  EXPECT_NE(samples[3], samples[2]);
  EXPECT_NE(samples[3], samples[0]);
}

TEST(LmBatch, NothingIsSixtyFourRowsWithoutLabels) {
  const PackedBatch batch = pack_lm({});
  EXPECT_EQ(batch.rows(), 64);
  EXPECT_EQ(batch.sequences(), 0);
  EXPECT_TRUE(at::equal(batch.labels.at(kLmNext), at::full({64}, -1, at::kLong)));
}

}  // namespace
}  // namespace trireme::data
