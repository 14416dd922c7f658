// What a GPT-2 is, as in Hugging Face's config.json.
#pragma once

#include <cstdint>
#include <string>

#include "trireme/base/json.h"

namespace trireme::models {

struct Gpt2Config {
  int64_t vocab_size = 50257;
  int64_t n_positions = 1024;
  int64_t n_embd = 768;
  int64_t n_layer = 12;
  int64_t n_head = 12;
  int64_t n_inner = 4 * 768;
  double layer_norm_epsilon = 1e-5;
  double initializer_range = 0.02;
  double resid_pdrop = 0.1;
  double embd_pdrop = 0.1;
  double attn_pdrop = 0.1;
  bool tie_word_embeddings = true;
  int64_t bos_token_id = 50256;
  int64_t eos_token_id = 50256;

  // From a config.json; without n_inner it is 4 n_embd. Throws input_error naming the key: a
  // model_type other than gpt2, an activation other than gelu_new, attention scaled otherwise than
  // by 1 / sqrt(head size), cross attention, heads that do not divide n_embd, sizes below 1.
  static Gpt2Config from_json(const Json& config, const std::string& where);
  // Of the matrix products, the head's included, forward and backward, for one token; attention's
  // inner products, which depend on lengths, are left out.
  double flops_per_token() const;
  // Back, for a folder of the given architecture ("GPT2LMHeadModel").
  Json to_json(const std::string& architecture) const;
};

}  // namespace trireme::models
