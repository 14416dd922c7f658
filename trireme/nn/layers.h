// Layers over packed tokens [T, H]: each owns its Params, computes forward with fused kernels and
// enters the graph by one node. Backward adds parameter gradients into Param::main_grad and calls
// ready().
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "trireme/kernels/dropout.h"
#include "trireme/nn/context.h"
#include "trireme/nn/param.h"

namespace trireme::nn {

// x W^T + b with W [out, in]: of a weight that is shared.
at::Tensor linear(const at::Tensor& x_ti, Param& weight, Param& bias);

// y = x W^T + b, W [out, in]. Several named parts of rows make one product (query, key, value).
class Linear {
 public:
  Linear(const std::string& name, int64_t in, const std::vector<Part>& parts, double init_std);
  Linear(const std::string& name, int64_t in, int64_t out, double init_std);

  // With its bias.
  at::Tensor forward(const at::Tensor& x_ti);
  // Without: the next kernel adds it.
  at::Tensor product(const at::Tensor& x_ti);
  // With its bias, in fp32 whatever x is: logits.
  at::Tensor logits(const at::Tensor& x_ti);
  void collect(std::vector<Param*>& params);

  Param weight, bias;
};

// Weight and bias of a layer norm.
class LayerNorm {
 public:
  LayerNorm(const std::string& name, int64_t size, double epsilon);

  // layer_norm(x)
  at::Tensor forward(const at::Tensor& x_th);
  // layer_norm(dropout(y + bias) + residual): the end of an attention or MLP sub-layer; `bias` is
  // the Linear's that made y. dropout.p counts only while context.training.
  at::Tensor add(const at::Tensor& y_th, Param& bias, const at::Tensor& residual_th,
                 const kernels::Dropout& dropout, const Context& context);
  void collect(std::vector<Param*>& params);

  Param weight, bias;
  double epsilon;

 private:
  at::Tensor run(const at::Tensor& y_th, Param* y_bias, const at::Tensor& residual_th,
                 const kernels::Dropout& dropout, const Context& context);
};

// gelu(h + bias), the erf form; `bias` is the Linear's that made h.
at::Tensor bias_gelu(const at::Tensor& h_ti, Param& bias);

// dropout(x), while context.training.
at::Tensor dropout(const at::Tensor& x_th, const kernels::Dropout& dropout, const Context& context);

// Attention of N heads within each sequence, from the fused projections [T, 3 * N * D] (q | k | v);
// [T, N * D]. dropout is of the probabilities (the head is added to its site); scale 1 / sqrt(D).
at::Tensor self_attention(const at::Tensor& qkv, int64_t heads, bool causal,
                          const kernels::Dropout& dropout, const Context& context);

// word[tokens] + position[positions] (+ type[token_types] when `type` is not null). `root` is the
// graph's root.
at::Tensor embedding_sum(const at::Tensor& root, Param& word, Param& position, Param* type,
                         const Context& context);

}  // namespace trireme::nn
