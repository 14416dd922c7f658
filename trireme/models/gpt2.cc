#include "trireme/models/gpt2.h"

#include <ATen/ATen.h>

#include <cmath>
#include <string>

#include "trireme/nn/loss.h"
#include "trireme/nn/tensor_parallel.h"

namespace trireme::models {
namespace {

using kernels::dropout_site;
using kernels::SiteKind;
using nn::TpCut;

std::string block_name(int layer, const char* rest) {
  return "transformer.h." + std::to_string(layer) + "." + rest;
}

// Of the products that end in the residual, which sums 2 n_layer of them.
double residual_std(const Gpt2Config& config) {
  return config.initializer_range / std::sqrt(2.0 * static_cast<double>(config.n_layer));
}

}  // namespace

Gpt2Embeddings::Gpt2Embeddings(const Gpt2Config& c)
    : wte(nn::matrix_spec("transformer.wte.weight", c.vocab_size, c.n_embd, c.initializer_range)),
      wpe(nn::matrix_spec("transformer.wpe.weight", c.n_positions, c.n_embd, c.initializer_range)),
      dropout_(c.embd_pdrop) {
  wte.spec.sparse_grad = !c.tie_word_embeddings;  // a tied head's gradient has every row
  wte.spec.tp = nn::TpKind::kShard;
  wpe.spec.tp = nn::TpKind::kReplicatedPartialGrad;
}

at::Tensor Gpt2Embeddings::forward(const at::Tensor& root, nn::Context& context) {
  return nn::dropout(nn::embedding_sum(root, wte, wpe, nullptr, context),
                     {dropout_, dropout_site(SiteKind::kEmbedding, 0)}, context);
}

void Gpt2Embeddings::collect(std::vector<nn::Param*>& params) {
  for (nn::Param* table : {&wte, &wpe}) params.push_back(table);
}

Gpt2Block::Gpt2Block(const Gpt2Config& c, int layer)
    : ln_1_(block_name(layer, "ln_1"), c.n_embd, c.layer_norm_epsilon),
      c_attn_(block_name(layer, "attn.c_attn"), c.n_embd, 3 * c.n_embd, c.initializer_range,
              TpCut::kColumn, /*blocks=*/3),
      attn_c_proj_(block_name(layer, "attn.c_proj"), c.n_embd, c.n_embd, residual_std(c),
                   TpCut::kRow),
      ln_2_(block_name(layer, "ln_2"), c.n_embd, c.layer_norm_epsilon),
      c_fc_(block_name(layer, "mlp.c_fc"), c.n_embd, c.n_inner, c.initializer_range,
            TpCut::kColumn),
      mlp_c_proj_(block_name(layer, "mlp.c_proj"), c.n_inner, c.n_embd, residual_std(c),
                  TpCut::kRow),
      heads_(c.n_head),
      attention_probs_dropout_{c.attn_pdrop, dropout_site(SiteKind::kAttentionProbs, layer)},
      attention_dropout_{c.resid_pdrop, dropout_site(SiteKind::kAttentionOutput, layer)},
      mlp_dropout_{c.resid_pdrop, dropout_site(SiteKind::kMlpOutput, layer)} {}

at::Tensor Gpt2Block::forward(const at::Tensor& x_th, nn::Context& context) {
  at::Tensor y_th = nn::self_attention(c_attn_.forward(ln_1_.forward(x_th), context), heads_,
                                       /*causal=*/true, attention_probs_dropout_, context);
  const auto [a_th, norm_th] = ln_2_.add_keeping_sum(
      attn_c_proj_.product(y_th, context), attn_c_proj_.bias, x_th, attention_dropout_, context);
  y_th = nn::bias_gelu(kernels::Gelu::kTanh, c_fc_.product(norm_th, context), c_fc_.bias);
  return nn::dropout_add(mlp_c_proj_.product(y_th, context), mlp_c_proj_.bias, a_th, mlp_dropout_,
                         context);
}

void Gpt2Block::collect(std::vector<nn::Param*>& params) {
  ln_1_.collect(params);
  c_attn_.collect(params);
  attn_c_proj_.collect(params);
  ln_2_.collect(params);
  c_fc_.collect(params);
  mlp_c_proj_.collect(params);
}

Gpt2Head::Gpt2Head(const Gpt2Config& c, nn::Param* wte, TiedHead tied)
    : ln_f_("transformer.ln_f", c.n_embd, c.layer_norm_epsilon), matrix_(wte) {
  constexpr const char* kName = "lm_head.weight";
  if (c.tie_word_embeddings) {
    wte->spec.aliases = {kName};
    if (tied == TiedHead::kCopies) {
      matrix_ = &own_.emplace(wte->spec);
      own_->spec.tie = nn::Tie::kCopy;
      wte->spec.tie = nn::Tie::kOriginal;
      wte->spec.sparse_grad = true;
    } else {
      wte->uses = 2;
    }
  } else {
    matrix_ = &own_.emplace(nn::matrix_spec(kName, c.vocab_size, c.n_embd, c.initializer_range));
    matrix_->spec.tp = nn::TpKind::kShard;
  }
}

at::Tensor Gpt2Head::forward(const at::Tensor& x_th, nn::Context& context) {
  at::Tensor norm_th = nn::all_rows(ln_f_.forward(x_th), nn::RowUse::kCut, context);
  if (context.logit_rows.defined()) norm_th = norm_th.index_select(0, context.logit_rows);
  if (context.labels.defined()) {
    return nn::linear_cross_entropy(norm_th, *matrix_, context.labels, context.label_count,
                                    context);
  }
  return nn::all_columns(nn::linear(norm_th, *matrix_, nullptr), matrix_->spec.shape[0], context);
}

void Gpt2Head::collect(std::vector<nn::Param*>& params) {
  ln_f_.collect(params);
  params.push_back(matrix_);
}

Gpt2LmHeadModel::Gpt2LmHeadModel(const Gpt2Config& config, TiedHead tied)
    : embeddings_(0, "embeddings", config),
      head_(1 + static_cast<int>(config.n_layer), "head", config, &embeddings_.block().wte, tied) {
  chain_.add(embeddings_);
  for (int i = 0; i < static_cast<int>(config.n_layer); ++i) {
    blocks_.push_back(
        std::make_unique<nn::Unit<Gpt2Block>>(i + 1, "h." + std::to_string(i), config, i));
    chain_.add(*blocks_.back());
  }
  chain_.add(head_);
}

}  // namespace trireme::models
