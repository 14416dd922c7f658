#include "trireme/models/gpt2_config.h"

#include "trireme/base/error.h"
#include "trireme/models/config_fields.h"

namespace trireme::models {

Gpt2Config Gpt2Config::from_json(const Json& config, const std::string& where) {
  constexpr const char* kFamily = "GPT-2";
  expect_text(config, kFamily, "model_type", where, "gpt2");
  expect_text(config, kFamily, "activation_function", where, "gelu_new");
  expect_flag(config, kFamily, "scale_attn_weights", where, true);
  expect_flag(config, kFamily, "scale_attn_by_inverse_layer_idx", where, false);
  expect_flag(config, kFamily, "add_cross_attention", where, false);
  Gpt2Config c;
  c.vocab_size = positive(config, "vocab_size", where, c.vocab_size);
  c.n_positions = positive(config, "n_positions", where, c.n_positions);
  c.n_embd = positive(config, "n_embd", where, c.n_embd);
  c.n_layer = positive(config, "n_layer", where, c.n_layer);
  c.n_head = positive(config, "n_head", where, c.n_head);
  const bool has_inner = config.contains("n_inner") && !config["n_inner"].is_null();
  c.n_inner = has_inner ? positive(config, "n_inner", where, c.n_inner) : 4 * c.n_embd;
  c.layer_norm_epsilon = optional_double(config, "layer_norm_epsilon", where, c.layer_norm_epsilon);
  c.initializer_range = optional_double(config, "initializer_range", where, c.initializer_range);
  c.resid_pdrop = probability(config, "resid_pdrop", where, c.resid_pdrop);
  c.embd_pdrop = probability(config, "embd_pdrop", where, c.embd_pdrop);
  c.attn_pdrop = probability(config, "attn_pdrop", where, c.attn_pdrop);
  c.tie_word_embeddings =
      optional_bool(config, "tie_word_embeddings", where, c.tie_word_embeddings);
  c.bos_token_id = optional_int(config, "bos_token_id", where, c.bos_token_id);
  c.eos_token_id = optional_int(config, "eos_token_id", where, c.eos_token_id);
  if (c.n_embd % c.n_head != 0) {
    throw input_error(where, ": n_embd ", c.n_embd, " does not divide over ", c.n_head,
                      " attention heads");
  }
  return c;
}

double Gpt2Config::flops_per_token() const {
  const auto H = static_cast<double>(n_embd), I = static_cast<double>(n_inner),
             V = static_cast<double>(vocab_size);
  // A product of n weights costs 2 n forward, and twice that backward.
  return 6.0 * (static_cast<double>(n_layer) * (4.0 * H * H + 2.0 * H * I) + V * H);
}

Json Gpt2Config::to_json(const std::string& architecture) const {
  return {{"architectures", {architecture}},
          {"model_type", "gpt2"},
          {"vocab_size", vocab_size},
          {"n_positions", n_positions},
          {"n_embd", n_embd},
          {"n_layer", n_layer},
          {"n_head", n_head},
          {"n_inner", n_inner},
          {"activation_function", "gelu_new"},
          {"layer_norm_epsilon", layer_norm_epsilon},
          {"initializer_range", initializer_range},
          {"resid_pdrop", resid_pdrop},
          {"embd_pdrop", embd_pdrop},
          {"attn_pdrop", attn_pdrop},
          {"tie_word_embeddings", tie_word_embeddings},
          {"bos_token_id", bos_token_id},
          {"eos_token_id", eos_token_id},
          {"torch_dtype", "float32"}};
}

}  // namespace trireme::models
