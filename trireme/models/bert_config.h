// What a BERT is, as in Hugging Face's config.json.
#pragma once

#include <cstdint>
#include <string>

#include "trireme/base/json.h"

namespace trireme::models {

struct BertConfig {
  int64_t vocab_size = 30522;
  int64_t hidden_size = 768;
  int64_t num_hidden_layers = 12;
  int64_t num_attention_heads = 12;
  int64_t intermediate_size = 3072;
  int64_t max_position_embeddings = 512;
  int64_t type_vocab_size = 2;
  double layer_norm_eps = 1e-12;
  double initializer_range = 0.02;
  double hidden_dropout_prob = 0.1;
  double attention_probs_dropout_prob = 0.1;
  bool tie_word_embeddings = true;
  int64_t num_labels = 2;
  int64_t pad_token_id = 0;  // kept for other programs: nothing is padded here

  // From a config.json. Throws input_error naming the key: a model_type other than bert, an
  // activation other than gelu, relative positions, heads that do not divide the hidden size, sizes
  // below 1.
  static BertConfig from_json(const Json& config, const std::string& where);
  // Of the encoder's matrix products, forward and backward, for one token; attention's inner
  // products, which depend on lengths, are left out.
  double flops_per_token() const;
  // Back, for a folder of the given architecture ("BertForQuestionAnswering").
  Json to_json(const std::string& architecture) const;
};

}  // namespace trireme::models
