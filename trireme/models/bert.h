// BERT (Devlin et al., 2018): encoder and heads, over packed tokens [T, H]. Parameter names are
// Hugging Face's.
//
//   BertForQuestionAnswering model(config);
//   nn::allocate_values(model.units(), at::kFloat);      // or an engine's buckets
//   at::Tensor logits_t2 = model.forward(context);       // context.tokens, positions, token_types,
//   seq
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "trireme/models/bert_config.h"
#include "trireme/nn/chain.h"
#include "trireme/nn/layers.h"
#include "trireme/nn/unit.h"

namespace trireme::models {

// Sum of word, position and token-type embeddings, layer norm, dropout. Its input is the graph's
// root.
class BertEmbeddings {
 public:
  explicit BertEmbeddings(const BertConfig& config);
  at::Tensor forward(const at::Tensor& root, nn::Context& context);
  void collect(std::vector<nn::Param*>& params);

  nn::Param word, position, token_type;

 private:
  nn::LayerNorm norm_;
  double dropout_;
};

// Self-attention and MLP, each followed by dropout, residual and layer norm (post-norm).
class BertLayer {
 public:
  BertLayer(const BertConfig& config, int layer);
  at::Tensor forward(const at::Tensor& x_th, nn::Context& context);
  void collect(std::vector<nn::Param*>& params);

 private:
  nn::Linear qkv_, attention_output_;
  nn::LayerNorm attention_norm_;
  nn::Linear intermediate_, output_;
  nn::LayerNorm output_norm_;
  int64_t heads_;
  kernels::Dropout attention_probs_dropout_, attention_dropout_, output_dropout_;
};

class BertEncoder {
 public:
  explicit BertEncoder(const BertConfig& config);
  at::Tensor forward(nn::Context& context) { return chain_(context); }  // [T, H]
  const nn::Chain& chain() const { return chain_; }
  nn::Param& word_embeddings() { return embeddings_.block().word; }
  int unit_count() const { return static_cast<int>(chain_.size()); }

 private:
  nn::Unit<BertEmbeddings> embeddings_;
  std::vector<std::unique_ptr<nn::Unit<BertLayer>>> layers_;
  nn::Chain chain_;
};

// tanh(dense(x)) of each sequence's first row: [B, H]. x has all rows that sequence parallelism
// cuts; a context-parallel rank has fewer sequences: those of data::CpShard::first_sequences.
class BertPooler {
 public:
  explicit BertPooler(const BertConfig& config);
  at::Tensor forward(const at::Tensor& x_th, const nn::Context& context);
  void collect(std::vector<nn::Param*>& params) { dense_.collect(params); }

 private:
  nn::Linear dense_;
};

// Start and end logits of every token: fp32 [T, 2].
class BertForQuestionAnswering {
 public:
  explicit BertForQuestionAnswering(const BertConfig& config);
  at::Tensor forward(nn::Context& context) { return chain_(context); }
  const nn::Chain& chain() const { return chain_; }
  std::vector<nn::UnitParams> units() const { return chain_.units(); }

 private:
  struct Head {
    explicit Head(const BertConfig& config);
    static constexpr bool kRecompute = false;  // backward comes at once
    at::Tensor forward(const at::Tensor& x_th, nn::Context& context);
    void collect(std::vector<nn::Param*>& params) { outputs.collect(params); }
    nn::Linear outputs;
  };
  BertEncoder encoder_;
  nn::Unit<Head> head_;
  nn::Chain chain_;
};

// Classes of each sequence: fp32 [B, num_labels].
class BertForSequenceClassification {
 public:
  explicit BertForSequenceClassification(const BertConfig& config);
  at::Tensor forward(nn::Context& context) { return chain_(context); }
  const nn::Chain& chain() const { return chain_; }
  std::vector<nn::UnitParams> units() const { return chain_.units(); }

 private:
  struct Head {
    explicit Head(const BertConfig& config);
    static constexpr bool kRecompute = false;  // backward comes at once
    at::Tensor forward(const at::Tensor& x_th, nn::Context& context);
    void collect(std::vector<nn::Param*>& params);
    BertPooler pooler;
    nn::Linear classifier;
    double dropout;
  };
  BertEncoder encoder_;
  nn::Unit<Head> head_;
  nn::Chain chain_;
};

// Masked words and next sentence (the pre-training heads).
class BertForPreTraining {
 public:
  explicit BertForPreTraining(const BertConfig& config);
  struct Logits {
    at::Tensor words_mv;  // [M, V] in the compute dtype: of the rows asked for
    at::Tensor next_b2;   // fp32 [B, 2]
  };
  // rows: int64 [M], the masked rows of the packed batch.
  Logits forward(nn::Context& context, const at::Tensor& rows);
  std::vector<nn::UnitParams> units();

 private:
  class Head {
   public:
    Head(const BertConfig& config, nn::Param& word_embeddings);
    static constexpr bool kRecompute = false;  // backward comes at once
    // words, next
    std::array<at::Tensor, 2> forward(const at::Tensor& x_th, nn::Context& context,
                                      const at::Tensor& rows);
    void collect(std::vector<nn::Param*>& params);

   private:
    nn::Linear transform_;
    nn::LayerNorm transform_norm_;
    std::optional<nn::Param> own_decoder_;  // when not tied to the word embeddings
    nn::Param* decoder_;
    nn::Param decoder_bias_;
    BertPooler pooler_;
    nn::Linear next_sentence_;
  };
  BertEncoder encoder_;
  nn::Unit<Head> head_;
};

}  // namespace trireme::models
