#include "trireme/plan/model_sizes.h"

namespace trireme::plan {

ModelSizes sizes_of(const models::BertConfig& c) {
  return {.family = Family::kBert,
          .layers = c.num_hidden_layers,
          .hidden = c.hidden_size,
          .inner = c.intermediate_size,
          .heads = c.num_attention_heads,
          .vocabulary = c.vocab_size,
          .positions = c.max_position_embeddings,
          .hidden_dropout = c.hidden_dropout_prob,
          .embedding_dropout = c.hidden_dropout_prob,
          .attention_dropout = c.attention_probs_dropout_prob};
}

ModelSizes sizes_of(const models::Gpt2Config& c) {
  return {.family = Family::kGpt2,
          .layers = c.n_layer,
          .hidden = c.n_embd,
          .inner = c.n_inner,
          .heads = c.n_head,
          .vocabulary = c.vocab_size,
          .positions = c.n_positions,
          .hidden_dropout = c.resid_pdrop,
          .embedding_dropout = c.embd_pdrop,
          .attention_dropout = c.attn_pdrop};
}

}  // namespace trireme::plan
