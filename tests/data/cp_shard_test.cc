#include "trireme/data/cp_shard.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trireme/base/error.h"

namespace trireme::data {
namespace {

using testing::ElementsAre;

template <class T>
std::vector<T> values(const at::Tensor& x) {
  return {x.const_data_ptr<T>(), x.const_data_ptr<T>() + x.numel()};
}

// Sequences of these lengths: token 100 b + position + 1; the second and third are of one sample.
PackedBatch batch_of(const std::vector<int32_t>& lengths) {
  std::vector<std::vector<int32_t>> ids;
  std::vector<PackSample> samples;
  std::vector<std::vector<int64_t>> labels;
  for (size_t b = 0; b < lengths.size(); ++b) {
    ids.emplace_back();
    labels.emplace_back();
    for (int32_t i = 0; i < lengths[b]; ++i) {
      ids.back().push_back(static_cast<int32_t>(100 * b) + i + 1);
      labels.back().push_back(1000 + ids.back().back());
    }
  }
  for (size_t b = 0; b < lengths.size(); ++b) {
    samples.push_back(
        {.ids = ids[b], .ordinal = static_cast<int32_t>(b == 2 ? 1 : b), .second_segment = 3});
  }
  PackedBatch batch = pack(samples, {});
  batch.labels["row"] = pack_rows(batch, labels, -1);
  batch.labels["sequence"] = at::arange(static_cast<int64_t>(lengths.size()), at::kLong);
  return batch;
}

TEST(CpShard, OneRanksRows) {
  const PackedBatch whole = batch_of({3, 8});
  const CpShard shard = cp_shard(whole, 1, 2);
  // Tokens 2 to 5 of the second sequence; the first, which is too short to be cut, is rank 0's.
  EXPECT_EQ(shard.batch.rows(), 64);
  EXPECT_EQ(shard.batch.real_tokens(), 4);
  EXPECT_THAT(values<int64_t>(shard.batch.tokens.narrow(0, 0, 5)),
              ElementsAre(103, 104, 105, 106, 0));
  EXPECT_THAT(values<int64_t>(shard.batch.positions.narrow(0, 0, 5)), ElementsAre(2, 3, 4, 5, 0));
  EXPECT_THAT(values<int64_t>(shard.batch.token_types.narrow(0, 0, 5)), ElementsAre(0, 1, 1, 1, 0));
  EXPECT_THAT(values<int64_t>(shard.batch.labels.at("row").narrow(0, 0, 5)),
              ElementsAre(1103, 1104, 1105, 1106, -1));
  EXPECT_THAT(values<int64_t>(shard.batch.labels.at("sequence")), ElementsAre(0, 1));
  EXPECT_THAT(shard.batch.seq.cu_q_host, ElementsAre(0, 2, 4));
  EXPECT_THAT(shard.batch.seq.q_start_host, ElementsAre(2, 4));
  EXPECT_THAT(shard.batch.sample, ElementsAre(1, 1));
  EXPECT_THAT(values<int64_t>(shard.own_rows), ElementsAre(5, 6, 7, 8));
  EXPECT_EQ(shard.first_sequences.numel(), 0);
  EXPECT_THAT(values<int64_t>(cp_shard(whole, 0, 2).first_sequences), ElementsAre(1, 0));
}

// What all ranks' rows are, put together, is the whole batch: values, labels, names of draws.
TEST(CpShard, RanksTogetherAreTheWhole) {
  const PackedBatch whole = batch_of({30, 2, 19, 44, 5});
  const kernels::DropoutKey key = whole.dropout_key(3, 4);
  const int64_t T = whole.real_tokens();
  for (const int cp : {1, 2, 3, 4}) {
    std::vector<at::Tensor> tokens, positions, types, labels, draws, draw_positions;
    at::Tensor gathered;
    for (int rank = 0; rank < cp; ++rank) {
      const CpShard shard = cp_shard(whole, rank, cp);
      const kernels::DropoutKey mine = shard.batch.dropout_key(3, 4);
      tokens.push_back(shard.batch.tokens);
      positions.push_back(shard.batch.positions);
      types.push_back(shard.batch.token_types);
      labels.push_back(shard.batch.labels.at("row"));
      draws.push_back(mine.row_sample);
      draw_positions.push_back(mine.row_position);
      gathered = shard.gathered_rows;
      EXPECT_EQ(shard.batch.rows(), shard.layout.rows);
      EXPECT_TRUE(at::equal(shard.whole_dropout.row_sample, key.row_sample));
      EXPECT_TRUE(at::equal(whole.tokens.index_select(0, shard.own_rows),
                            shard.batch.tokens.narrow(0, 0, shard.own_rows.numel())));
    }
    const auto together = [&](const std::vector<at::Tensor>& parts) {
      return at::cat(parts).index_select(0, gathered);
    };
    EXPECT_TRUE(at::equal(together(tokens), whole.tokens.narrow(0, 0, T)));
    EXPECT_TRUE(at::equal(together(positions), whole.positions.narrow(0, 0, T)));
    EXPECT_TRUE(at::equal(together(types), whole.token_types.narrow(0, 0, T)));
    EXPECT_TRUE(at::equal(together(labels), whole.labels.at("row").narrow(0, 0, T)));
    EXPECT_TRUE(at::equal(together(draws), key.row_sample.narrow(0, 0, T)));
    EXPECT_TRUE(at::equal(together(draw_positions), key.row_position.narrow(0, 0, T)));
  }
}

// As in evaluation.
TEST(CpShard, WithoutSamplesAndDraws) {
  PackedBatch whole = batch_of({30, 9});
  const at::Tensor tokens = cp_shard(whole, 1, 2).batch.tokens;
  whole.sample.clear();
  whole.draw.clear();
  const CpShard shard = cp_shard(whole, 1, 2);
  EXPECT_TRUE(at::equal(shard.batch.tokens, tokens));
  EXPECT_TRUE(shard.batch.sample.empty());
}

TEST(CpShard, NothingToShare) {
  const PackedBatch whole = pack({}, {.rows = 128});
  const CpShard shard = cp_shard(whole, 1, 2);
  EXPECT_EQ(shard.batch.rows(), 64);
  EXPECT_EQ(shard.batch.real_tokens(), 0);
  EXPECT_EQ(shard.own_rows.numel(), 0);
  EXPECT_THROW(cp_shard(whole, 2, 2), Error);
}

}  // namespace
}  // namespace trireme::data
