#include "trireme/models/bert.h"

#include <ATen/ATen.h>

#include "trireme/nn/tensor_parallel.h"

namespace trireme::models {
namespace {

using kernels::dropout_site;
using kernels::SiteKind;
using nn::RowUse;
using nn::TpCut;

nn::ParamSpec decoder_bias_spec(const BertConfig& config) {
  const char* name =
      config.tie_word_embeddings ? "cls.predictions.bias" : "cls.predictions.decoder.bias";
  nn::ParamSpec spec = nn::vector_spec(name, config.vocab_size, nn::InitKind::kZeros);
  spec.tp = nn::TpKind::kShard;
  return spec;
}

std::string layer_name(int layer, const char* rest) {
  return "bert.encoder.layer." + std::to_string(layer) + "." + rest;
}

std::vector<nn::Part> qkv_parts(const BertConfig& config, int layer) {
  return {{layer_name(layer, "attention.self.query"), config.hidden_size},
          {layer_name(layer, "attention.self.key"), config.hidden_size},
          {layer_name(layer, "attention.self.value"), config.hidden_size}};
}

// First row of each sequence (of a context-parallel rank: of those that begin here): int64 [B].
at::Tensor first_rows(const kernels::SeqInfo& seq) {
  std::vector<int64_t> rows;
  for (size_t b = 0; b < seq.q_start_host.size(); ++b) {
    if (seq.q_start_host[b] == 0) rows.push_back(seq.cu_q_host[b]);
  }
  return at::tensor(rows, at::kLong);
}

template <class Head>
nn::Chain with_head(nn::Chain chain, nn::Unit<Head>& head) {
  chain.add(head);
  return chain;
}

}  // namespace

BertEmbeddings::BertEmbeddings(const BertConfig& c)
    : word(nn::matrix_spec("bert.embeddings.word_embeddings.weight", c.vocab_size, c.hidden_size,
                           c.initializer_range)),
      position(nn::matrix_spec("bert.embeddings.position_embeddings.weight",
                               c.max_position_embeddings, c.hidden_size, c.initializer_range)),
      token_type(nn::matrix_spec("bert.embeddings.token_type_embeddings.weight", c.type_vocab_size,
                                 c.hidden_size, c.initializer_range)),
      norm_("bert.embeddings.LayerNorm", c.hidden_size, c.layer_norm_eps),
      dropout_(c.hidden_dropout_prob) {
  word.spec.sparse_grad = true;
  word.spec.tp = nn::TpKind::kShard;
  position.spec.tp = token_type.spec.tp = nn::TpKind::kReplicatedPartialGrad;
}

at::Tensor BertEmbeddings::forward(const at::Tensor& root, nn::Context& context) {
  const at::Tensor sum = nn::embedding_sum(root, word, position, &token_type, context);
  return nn::dropout(norm_.forward(sum), {dropout_, dropout_site(SiteKind::kEmbedding, 0)},
                     context);
}

void BertEmbeddings::collect(std::vector<nn::Param*>& params) {
  for (nn::Param* table : {&word, &position, &token_type}) params.push_back(table);
  norm_.collect(params);
}

BertLayer::BertLayer(const BertConfig& c, int layer)
    : qkv_(layer_name(layer, "attention.self.qkv"), c.hidden_size, qkv_parts(c, layer),
           c.initializer_range, TpCut::kColumn),
      attention_output_(layer_name(layer, "attention.output.dense"), c.hidden_size, c.hidden_size,
                        c.initializer_range, TpCut::kRow),
      attention_norm_(layer_name(layer, "attention.output.LayerNorm"), c.hidden_size,
                      c.layer_norm_eps),
      intermediate_(layer_name(layer, "intermediate.dense"), c.hidden_size, c.intermediate_size,
                    c.initializer_range, TpCut::kColumn),
      output_(layer_name(layer, "output.dense"), c.intermediate_size, c.hidden_size,
              c.initializer_range, TpCut::kRow),
      output_norm_(layer_name(layer, "output.LayerNorm"), c.hidden_size, c.layer_norm_eps),
      heads_(c.num_attention_heads),
      attention_probs_dropout_{c.attention_probs_dropout_prob,
                               dropout_site(SiteKind::kAttentionProbs, layer)},
      attention_dropout_{c.hidden_dropout_prob, dropout_site(SiteKind::kAttentionOutput, layer)},
      output_dropout_{c.hidden_dropout_prob, dropout_site(SiteKind::kMlpOutput, layer)} {}

at::Tensor BertLayer::forward(const at::Tensor& x_th, nn::Context& context) {
  at::Tensor y_th = nn::self_attention(qkv_.forward(x_th, context), heads_, /*causal=*/false,
                                       attention_probs_dropout_, context);
  y_th = attention_output_.product(y_th, context);
  const at::Tensor a_th =
      attention_norm_.add(y_th, attention_output_.bias, x_th, attention_dropout_, context);
  y_th =
      nn::bias_gelu(kernels::Gelu::kErf, intermediate_.product(a_th, context), intermediate_.bias);
  y_th = output_.product(y_th, context);
  return output_norm_.add(y_th, output_.bias, a_th, output_dropout_, context);
}

void BertLayer::collect(std::vector<nn::Param*>& params) {
  qkv_.collect(params);
  attention_output_.collect(params);
  attention_norm_.collect(params);
  intermediate_.collect(params);
  output_.collect(params);
  output_norm_.collect(params);
}

BertEncoder::BertEncoder(const BertConfig& config) : embeddings_(0, "embeddings", config) {
  chain_.add(embeddings_);
  for (int i = 0; i < static_cast<int>(config.num_hidden_layers); ++i) {
    layers_.push_back(
        std::make_unique<nn::Unit<BertLayer>>(i + 1, "layer." + std::to_string(i), config, i));
    chain_.add(*layers_.back());
  }
}

BertPooler::BertPooler(const BertConfig& config)
    : dense_("bert.pooler.dense", config.hidden_size, config.hidden_size,
             config.initializer_range) {}

at::Tensor BertPooler::forward(const at::Tensor& x_th, const nn::Context& context) {
  return at::tanh(dense_.forward(x_th.index_select(0, first_rows(*context.seq)), context));
}

BertForQuestionAnswering::Head::Head(const BertConfig& config)
    : outputs("qa_outputs", config.hidden_size, 2, config.initializer_range) {}

at::Tensor BertForQuestionAnswering::Head::forward(const at::Tensor& x_th, nn::Context& context) {
  return outputs.logits(nn::all_rows(x_th, RowUse::kAlike, context));
}

BertForQuestionAnswering::BertForQuestionAnswering(const BertConfig& config)
    : encoder_(config),
      head_(encoder_.unit_count(), "qa_outputs", config),
      chain_(with_head(encoder_.chain(), head_)) {}

BertForSequenceClassification::Head::Head(const BertConfig& config)
    : pooler(config),
      classifier("classifier", config.hidden_size, config.num_labels, config.initializer_range),
      dropout(config.hidden_dropout_prob) {}

at::Tensor BertForSequenceClassification::Head::forward(const at::Tensor& x_th,
                                                        nn::Context& context) {
  at::Tensor pooled_bh = pooler.forward(nn::all_rows(x_th, RowUse::kAlike, context), context);
  if (context.training && dropout > 0.0) {
    // The draws of each sequence's first row.
    nn::Context first = context;
    const at::Tensor rows = first_rows(*context.seq);
    first.dropout.row_sample = context.dropout.row_sample.index_select(0, rows);
    first.dropout.row_position = context.dropout.row_position.index_select(0, rows);
    pooled_bh = nn::dropout(pooled_bh, {dropout, dropout_site(SiteKind::kHead, 0)}, first);
  }
  return classifier.logits(pooled_bh);
}

void BertForSequenceClassification::Head::collect(std::vector<nn::Param*>& params) {
  pooler.collect(params);
  classifier.collect(params);
}

BertForSequenceClassification::BertForSequenceClassification(const BertConfig& config)
    : encoder_(config),
      head_(encoder_.unit_count(), "classifier", config),
      chain_(with_head(encoder_.chain(), head_)) {}

BertForPreTraining::Head::Head(const BertConfig& c, nn::Param& word_embeddings)
    : transform_("cls.predictions.transform.dense", c.hidden_size, c.hidden_size,
                 c.initializer_range),
      transform_norm_("cls.predictions.transform.LayerNorm", c.hidden_size, c.layer_norm_eps,
                      nn::TpKind::kReplicated),
      decoder_(&word_embeddings),
      decoder_bias_(decoder_bias_spec(c)),
      pooler_(c),
      next_sentence_("cls.seq_relationship", c.hidden_size, 2, c.initializer_range) {
  // Files name the one bias twice, or only once of the two.
  decoder_bias_.spec.aliases = {c.tie_word_embeddings ? "cls.predictions.decoder.bias"
                                                      : "cls.predictions.bias"};
  if (c.tie_word_embeddings) {
    word_embeddings.spec.aliases = {"cls.predictions.decoder.weight"};
    word_embeddings.uses = 2;
  } else {
    decoder_ = &own_decoder_.emplace(nn::matrix_spec("cls.predictions.decoder.weight", c.vocab_size,
                                                     c.hidden_size, c.initializer_range));
    decoder_->spec.tp = nn::TpKind::kShard;
  }
}

std::array<at::Tensor, 2> BertForPreTraining::Head::forward(const at::Tensor& x_th,
                                                            nn::Context& context,
                                                            const at::Tensor& rows) {
  const at::Tensor all_th = nn::all_rows(x_th, RowUse::kAlike, context);
  at::Tensor m_mh = transform_.product(all_th.index_select(0, rows), context);
  m_mh = transform_norm_.forward(nn::bias_gelu(kernels::Gelu::kErf, m_mh, transform_.bias));
  const at::Tensor words_mv =
      nn::linear(nn::sum_gradients(m_mh, context), *decoder_, &decoder_bias_);
  return {nn::all_columns(words_mv, decoder_->spec.shape[0], context),
          next_sentence_.logits(pooler_.forward(all_th, context))};
}

void BertForPreTraining::Head::collect(std::vector<nn::Param*>& params) {
  transform_.collect(params);
  transform_norm_.collect(params);
  params.push_back(decoder_);
  params.push_back(&decoder_bias_);
  pooler_.collect(params);
  next_sentence_.collect(params);
}

BertForPreTraining::BertForPreTraining(const BertConfig& c)
    : encoder_(c), head_(encoder_.unit_count(), "cls", c, encoder_.word_embeddings()) {}

BertForPreTraining::Logits BertForPreTraining::forward(nn::Context& context,
                                                       const at::Tensor& rows) {
  auto [words_mv, next_b2] = head_(encoder_.forward(context), context, rows);
  return {std::move(words_mv), std::move(next_b2)};
}

std::vector<nn::UnitParams> BertForPreTraining::units() {
  std::vector<nn::UnitParams> units = encoder_.chain().units();
  units.push_back(head_.params());
  return units;
}

}  // namespace trireme::models
