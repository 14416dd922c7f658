#include "trireme/models/bert_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "trireme/base/error.h"

namespace trireme::models {
namespace {

using ::testing::HasSubstr;

std::string error_of(const std::string& text) {
  try {
    BertConfig::from_json(parse_json(text, "config.json"), "config.json");
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInput);
    return e.what();
  }
  return "";
}

TEST(BertConfig, RoundTrip) {
  BertConfig config;
  config.hidden_size = 30;
  config.num_attention_heads = 3;
  config.num_labels = 5;
  config.pad_token_id = 1;
  config.tie_word_embeddings = false;
  config.attention_probs_dropout_prob = 0.25;
  const BertConfig back =
      BertConfig::from_json(config.to_json("BertForSequenceClassification"), "x");
  EXPECT_EQ(back.hidden_size, 30);
  EXPECT_EQ(back.num_labels, 5);
  EXPECT_EQ(back.pad_token_id, 1);
  EXPECT_FALSE(back.tie_word_embeddings);
  EXPECT_EQ(back.attention_probs_dropout_prob, 0.25);
}

TEST(BertConfig, RefusesByName) {
  EXPECT_THAT(error_of(R"({"model_type": "roberta"})"), HasSubstr("model_type 'roberta'"));
  EXPECT_THAT(error_of(R"({"hidden_act": "relu"})"), HasSubstr("hidden_act 'relu'"));
  EXPECT_THAT(error_of(R"({"hidden_size": 10, "num_attention_heads": 3})"),
              HasSubstr("does not divide over 3"));
  EXPECT_THAT(error_of(R"({"vocab_size": 0})"), HasSubstr("vocab_size is 0"));
  EXPECT_THAT(error_of(R"({"hidden_size": "big"})"), HasSubstr("hidden_size"));
  EXPECT_THAT(error_of(R"({"hidden_dropout_prob": 1.0})"), HasSubstr("hidden_dropout_prob"));
  EXPECT_THAT(error_of(R"({"position_embedding_type": "relative_key"})"),
              HasSubstr("relative_key"));
}

}  // namespace
}  // namespace trireme::models
