// GPT-2 (Radford et al., 2019): pre-norm decoder and language-model head, over packed tokens [T,
// H]. Parameter names and layouts are Hugging Face's.
//
//   Gpt2LmHeadModel model(config);
//   nn::allocate_values(model.units(), at::kFloat);      // or an engine's buckets
//   at::Tensor logits_tv = model.forward(context);       // context.tokens, positions, seq
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "trireme/models/gpt2_config.h"
#include "trireme/nn/chain.h"
#include "trireme/nn/layers.h"
#include "trireme/nn/unit.h"

namespace trireme::models {

// Sum of token and position embeddings, dropout. Its input is the graph's root.
class Gpt2Embeddings {
 public:
  explicit Gpt2Embeddings(const Gpt2Config& config);
  static constexpr bool kRecompute = false;  // it keeps the tokens alone
  static constexpr bool kBackwardReadsValues = false;
  at::Tensor forward(const at::Tensor& root, nn::Context& context);
  void collect(std::vector<nn::Param*>& params);

  nn::Param wte, wpe;

 private:
  double dropout_;
};

// x + attention(norm(x)), then + mlp(norm(that)); each with dropout before it is added.
class Gpt2Block {
 public:
  Gpt2Block(const Gpt2Config& config, int layer);
  at::Tensor forward(const at::Tensor& x_th, nn::Context& context);
  void collect(std::vector<nn::Param*>& params);

 private:
  nn::LayerNorm ln_1_;
  nn::Conv1D c_attn_, attn_c_proj_;
  nn::LayerNorm ln_2_;
  nn::Conv1D c_fc_, mlp_c_proj_;
  int64_t heads_;
  kernels::Dropout attention_probs_dropout_, attention_dropout_, mlp_dropout_;
};

// How a head that is tied to the token embeddings holds their matrix: as the same Param, or as one
// of its own that is kept equal (nn::Tie), for a pipeline's last stage.
enum class TiedHead { kShares, kCopies };

// The last norm and the product with the token embeddings, or with a matrix of its own: logits, or
// the loss where the context has labels.
class Gpt2Head {
 public:
  Gpt2Head(const Gpt2Config& config, nn::Param* wte, TiedHead tied);
  static constexpr bool kRecompute = false;  // backward comes at once
  at::Tensor forward(const at::Tensor& x_th, nn::Context& context);
  void collect(std::vector<nn::Param*>& params);

 private:
  nn::LayerNorm ln_f_;
  std::optional<nn::Param> own_;  // when not tied, or as a copy
  nn::Param* matrix_;
};

// Logits of the next token after each (or after context.logit_rows): [T, vocab_size] in the compute
// dtype; or, where the context has labels, the loss: an fp32 scalar.
class Gpt2LmHeadModel {
 public:
  explicit Gpt2LmHeadModel(const Gpt2Config& config, TiedHead tied = TiedHead::kShares);
  at::Tensor forward(nn::Context& context) { return chain_(context); }
  const nn::Chain& chain() const { return chain_; }
  std::vector<nn::UnitParams> units() const { return chain_.units(); }

 private:
  nn::Unit<Gpt2Embeddings> embeddings_;
  std::vector<std::unique_ptr<nn::Unit<Gpt2Block>>> blocks_;
  nn::Unit<Gpt2Head> head_;
  nn::Chain chain_;
};

}  // namespace trireme::models
