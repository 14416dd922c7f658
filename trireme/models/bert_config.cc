#include "trireme/models/bert_config.h"

#include "trireme/base/error.h"
#include "trireme/models/config_fields.h"

namespace trireme::models {
BertConfig BertConfig::from_json(const Json& config, const std::string& where) {
  expect_text(config, "BERT", "model_type", where, "bert");
  expect_text(config, "BERT", "hidden_act", where, "gelu");
  expect_text(config, "BERT", "position_embedding_type", where, "absolute");
  BertConfig c;
  c.vocab_size = positive(config, "vocab_size", where, c.vocab_size);
  c.hidden_size = positive(config, "hidden_size", where, c.hidden_size);
  c.num_hidden_layers = positive(config, "num_hidden_layers", where, c.num_hidden_layers);
  c.num_attention_heads = positive(config, "num_attention_heads", where, c.num_attention_heads);
  c.intermediate_size = positive(config, "intermediate_size", where, c.intermediate_size);
  c.max_position_embeddings =
      positive(config, "max_position_embeddings", where, c.max_position_embeddings);
  c.type_vocab_size = positive(config, "type_vocab_size", where, c.type_vocab_size);
  c.pad_token_id = optional_int(config, "pad_token_id", where, c.pad_token_id);
  c.layer_norm_eps = optional_double(config, "layer_norm_eps", where, c.layer_norm_eps);
  c.initializer_range = optional_double(config, "initializer_range", where, c.initializer_range);
  c.hidden_dropout_prob = probability(config, "hidden_dropout_prob", where, c.hidden_dropout_prob);
  c.attention_probs_dropout_prob =
      probability(config, "attention_probs_dropout_prob", where, c.attention_probs_dropout_prob);
  c.tie_word_embeddings =
      optional_bool(config, "tie_word_embeddings", where, c.tie_word_embeddings);
  if (config.contains("id2label") && config["id2label"].is_object() &&
      !config["id2label"].empty()) {
    c.num_labels = static_cast<int64_t>(config["id2label"].size());
  }
  c.num_labels = positive(config, "num_labels", where, c.num_labels);
  if (c.hidden_size % c.num_attention_heads != 0) {
    throw input_error(where, ": hidden_size ", c.hidden_size, " does not divide over ",
                      c.num_attention_heads, " attention heads");
  }
  return c;
}

double BertConfig::flops_per_token() const {
  const auto H = static_cast<double>(hidden_size), I = static_cast<double>(intermediate_size);
  // A product of n weights costs 2 n forward, and twice that backward.
  return 6.0 * static_cast<double>(num_hidden_layers) * (4.0 * H * H + 2.0 * H * I);
}

Json BertConfig::to_json(const std::string& architecture) const {
  Json config = {{"architectures", {architecture}},
                 {"model_type", "bert"},
                 {"vocab_size", vocab_size},
                 {"hidden_size", hidden_size},
                 {"num_hidden_layers", num_hidden_layers},
                 {"num_attention_heads", num_attention_heads},
                 {"intermediate_size", intermediate_size},
                 {"max_position_embeddings", max_position_embeddings},
                 {"type_vocab_size", type_vocab_size},
                 {"hidden_act", "gelu"},
                 {"layer_norm_eps", layer_norm_eps},
                 {"initializer_range", initializer_range},
                 {"hidden_dropout_prob", hidden_dropout_prob},
                 {"attention_probs_dropout_prob", attention_probs_dropout_prob},
                 {"tie_word_embeddings", tie_word_embeddings},
                 {"pad_token_id", pad_token_id},
                 {"torch_dtype", "float32"}};
  if (num_labels != 2) {
    Json labels = Json::object(), ids = Json::object();
    for (int64_t i = 0; i < num_labels; ++i) {
      labels[cat(i)] = cat("LABEL_", i);
      ids[cat("LABEL_", i)] = i;
    }
    config["id2label"] = labels;
    config["label2id"] = ids;
  }
  return config;
}

}  // namespace trireme::models
