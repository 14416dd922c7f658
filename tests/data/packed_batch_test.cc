#include "trireme/data/packed_batch.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/data/fake_tokenizer.h"
#include "trireme/base/error.h"
#include "trireme/data/qa_batch.h"

namespace trireme::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

template <class T>
std::vector<T> values(const at::Tensor& t) {
  return {t.const_data_ptr<T>(), t.const_data_ptr<T>() + t.numel()};
}

std::vector<int64_t> first_rows(const at::Tensor& t, int64_t n) {
  return values<int64_t>(t.narrow(0, 0, n).contiguous());
}

TEST(PackedBatch, SequencesLieEndToEnd) {
  const std::vector<int32_t> a = {11, 12, 13}, b = {21, 22};
  const std::vector<PackSample> samples = {{.ids = a, .ordinal = 7, .second_segment = 2},
                                           {.ids = b, .ordinal = 4}};
  const PackedBatch batch = pack(samples, {});
  EXPECT_EQ(batch.rows(), 64);
  EXPECT_EQ(batch.sequences(), 2);
  EXPECT_EQ(batch.real_tokens(), 5);
  EXPECT_EQ(batch.tokens.scalar_type(), at::kLong);
  EXPECT_THAT(first_rows(batch.tokens, 6), ElementsAre(11, 12, 13, 21, 22, 0));
  EXPECT_THAT(first_rows(batch.positions, 6), ElementsAre(0, 1, 2, 0, 1, 0));
  EXPECT_THAT(first_rows(batch.token_types, 6), ElementsAre(0, 0, 1, 0, 0, 0));
  EXPECT_EQ(batch.tokens.narrow(0, 5, 59).abs().sum().item<int64_t>(), 0);
  EXPECT_THAT(batch.seq.cu_q_host, ElementsAre(0, 3, 5));
  EXPECT_THAT(values<int32_t>(batch.seq.cu_q), ElementsAre(0, 3, 5));
  EXPECT_EQ(batch.seq.max_q, 3);
  EXPECT_THAT(batch.sample, ElementsAre(7, 4));
}

TEST(PackedBatch, RowsAreRoundedUpOrAsAsked) {
  const std::vector<int32_t> ids(65, 1);
  const PackSample sample{.ids = ids};
  EXPECT_EQ(pack({&sample, 1}, {}).rows(), 128);
  const std::vector<int32_t> full(64, 1);
  const PackSample fits{.ids = full};
  EXPECT_EQ(pack({&fits, 1}, {}).rows(), 64);
  EXPECT_EQ(pack({&fits, 1}, {.rows = 256}).rows(), 256);
  EXPECT_THROW(pack({&sample, 1}, {.rows = 64}), Error);
}

TEST(PackedBatch, NoSamplesAreSixtyFourPaddingRows) {
  const PackedBatch batch = pack({}, {});
  EXPECT_EQ(batch.rows(), 64);
  EXPECT_EQ(batch.sequences(), 0);
  EXPECT_EQ(batch.real_tokens(), 0);
  EXPECT_THAT(batch.seq.cu_q_host, ElementsAre(0));
  EXPECT_EQ(batch.dropout_key(1, 2).row_sample.numel(), 64);
}

TEST(PackedBatch, TokenTypesCanBeLeftOut) {
  const std::vector<int32_t> ids = {1};
  const PackSample sample{.ids = ids};
  EXPECT_FALSE(pack({&sample, 1}, {.token_types = false}).token_types.defined());
}

TEST(PackedBatch, EmptySequenceIsRefused) {
  const PackSample sample;
  EXPECT_THROW(pack({&sample, 1}, {}), Error);
}

TEST(PackedBatch, DropoutKeyNamesSampleAndPositionOfEachRow) {
  const std::vector<int32_t> a = {1, 1, 1}, b = {1, 1};
  const std::vector<PackSample> one = {{.ids = a, .ordinal = 5}, {.ids = b, .ordinal = 9}};
  const kernels::DropoutKey key = pack(one, {}).dropout_key(3, 17);
  EXPECT_EQ(key.seed, 3U);
  EXPECT_EQ(key.step, 17U);
  EXPECT_EQ(key.row_sample.scalar_type(), at::kInt);
  EXPECT_EQ(key.row_position.scalar_type(), at::kInt);
  const auto samples = values<int32_t>(key.row_sample.narrow(0, 0, 5).contiguous());
  const auto positions = values<int32_t>(key.row_position.narrow(0, 0, 5).contiguous());
  EXPECT_THAT(samples, ElementsAre(5, 5, 5, 9, 9));
  EXPECT_THAT(positions, ElementsAre(0, 1, 2, 0, 1));
}

TEST(PackRows, LabelsEveryRow) {
  const std::vector<int32_t> a = {1, 1}, b = {1};
  const std::vector<PackSample> samples = {{.ids = a}, {.ids = b}};
  const PackedBatch batch = pack(samples, {});
  const std::vector<std::vector<int64_t>> labels = {{8, -1}, {9}};
  const at::Tensor got = pack_rows(batch, labels, -1);
  EXPECT_EQ(got.numel(), 64);
  EXPECT_THAT(first_rows(got, 4), ElementsAre(8, -1, 9, -1));
  const std::vector<std::vector<int64_t>> wrong = {{8}, {9}};
  EXPECT_THROW(pack_rows(batch, wrong, -1), Error);
  EXPECT_THROW(pack_rows(batch, std::span(labels).first(1), -1), Error);
}

TEST(PackQa, TypesAndLabelsOfWindows) {
  QaExample example;
  example.id = "q";
  example.question = "w9 w8";
  example.context = std::make_shared<const std::string>("w0 w1 w2");
  example.answers.push_back({"w1 w2", 3});
  const auto windows = make_qa_windows(std::span(&example, 1), fake_tokenizer(), {});
  const std::vector<QaBatchItem> items = {{&windows[0], 3}, {&windows[0], 1}};
  const PackedBatch batch = pack_qa(items, 128);
  EXPECT_EQ(batch.rows(), 128);
  EXPECT_THAT(batch.sample, ElementsAre(3, 1));
  EXPECT_THAT(first_rows(batch.tokens, 9), ElementsAre(1, 1009, 1008, 2, 1000, 1001, 1002, 2, 1));
  EXPECT_THAT(first_rows(batch.token_types, 9), ElementsAre(0, 0, 0, 0, 1, 1, 1, 1, 0));
  EXPECT_THAT(values<int64_t>(batch.labels.at(kQaStart)), ElementsAre(5, 5));
  EXPECT_THAT(values<int64_t>(batch.labels.at(kQaEnd)), ElementsAre(6, 6));
  EXPECT_EQ(pack_qa({}).labels.at(kQaStart).numel(), 0);
}

}  // namespace
}  // namespace trireme::data
