// Layers over packed tokens [T, H]: each owns its Params, computes forward with fused kernels and
// enters the graph by one node. Backward adds parameter gradients into Param::main_grad and calls
// ready().
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "trireme/kernels/dropout.h"
#include "trireme/kernels/ops.h"
#include "trireme/nn/context.h"
#include "trireme/nn/param.h"
#include "trireme/nn/product.h"

namespace trireme::nn {

// x W^T + b with W [out, in]: of a weight that is shared. bias may be null. Of a weight that is cut
// by rows (a vocabulary's table) it is this rank's columns, and x's gradient this rank's share of
// it; see tensor_parallel.h.
at::Tensor linear(const at::Tensor& x_ti, Param& weight, Param* bias);

// y = x W^T + b, W [out, in]. Several named parts of rows make one product (query, key, value). For
// tensor parallelism (tensor_parallel.h) a block of one's own takes its first product by columns
// and its second by rows:
//
//   nn::Linear up{"up", H, 4 * H, 0.02, nn::TpCut::kColumn}, down{"down", 4 * H, H, 0.02,
//       nn::TpCut::kRow};
//   h_ti = nn::bias_gelu(kernels::Gelu::kTanh, up.product(x_th, context), up.bias);
//   y_th = nn::dropout_add(down.product(h_ti, context), down.bias, x_th, {}, context);
//
// The same code runs whole where the context has no tensor parallelism.
class Linear {
 public:
  Linear(const std::string& name, int64_t in, const std::vector<Part>& parts, double init_std,
         TpCut cut = TpCut::kNone);
  Linear(const std::string& name, int64_t in, int64_t out, double init_std,
         TpCut cut = TpCut::kNone);

  // With its bias.
  at::Tensor forward(const at::Tensor& x_ti, const Context& context);
  // Without: the next kernel adds it.
  at::Tensor product(const at::Tensor& x_ti, const Context& context);
  // With its bias, in fp32 whatever x is: logits. Of a matrix that is not cut.
  at::Tensor logits(const at::Tensor& x_ti);
  void collect(std::vector<Param*>& params);

  Param weight, bias;

 private:
  TpCut cut_;
};

// y = x W + b, W [in, out]: as GPT-2's files hold it, under Hugging Face's name. `blocks`: outputs
// are that many equal runs, each cut on its own by kColumn (query, key, value: 3).
class Conv1D {
 public:
  Conv1D(const std::string& name, int64_t in, int64_t out, double init_std,
         TpCut cut = TpCut::kNone, int blocks = 1);

  // With its bias; without.
  at::Tensor forward(const at::Tensor& x_ti, const Context& context);
  at::Tensor product(const at::Tensor& x_ti, const Context& context);
  void collect(std::vector<Param*>& params);

  Param weight, bias;

 private:
  TpCut cut_;
};

// Weight and bias of a layer norm. tp: kReplicated for one that every rank applies to all rows,
// whatever the context.
class LayerNorm {
 public:
  LayerNorm(const std::string& name, int64_t size, double epsilon,
            TpKind tp = TpKind::kReplicatedPartialGrad);

  // layer_norm(x)
  at::Tensor forward(const at::Tensor& x_th);
  // layer_norm(dropout(y + bias) + residual): the end of an attention or MLP sub-layer; `bias` is
  // the Linear's that made y. dropout.p counts only while context.training.
  at::Tensor add(const at::Tensor& y_th, Param& bias, const at::Tensor& residual_th,
                 const kernels::Dropout& dropout, const Context& context);
  // The same, and the sum that was normalised, for a residual that goes on beside the norm
  // (pre-norm blocks).
  struct SumAndNorm {
    at::Tensor sum_th, norm_th;
  };
  SumAndNorm add_keeping_sum(const at::Tensor& y_th, Param& bias, const at::Tensor& residual_th,
                             const kernels::Dropout& dropout, const Context& context);
  void collect(std::vector<Param*>& params);

  Param weight, bias;
  double epsilon;

 private:
  SumAndNorm run(const at::Tensor& y_th, Param* y_bias, const at::Tensor& residual_th,
                 const kernels::Dropout& dropout, const Context& context, bool keep_sum);
};

// gelu(h + bias); `bias` is that of the product that made h.
at::Tensor bias_gelu(kernels::Gelu form, const at::Tensor& h_ti, Param& bias);

// dropout(y + bias) + residual: the end of a pre-norm block; `bias` is that of the product that
// made y.
at::Tensor dropout_add(const at::Tensor& y_th, Param& bias, const at::Tensor& residual_th,
                       const kernels::Dropout& dropout, const Context& context);

// dropout(x), while context.training; the rows are all of the batch's or this rank's.
at::Tensor dropout(const at::Tensor& x_th, const kernels::Dropout& dropout, const Context& context);

// Attention of N heads within each sequence, from the fused projections [T, 3 * N * D] (q | k | v);
// [T, N * D]; over the context's cache, too, where there is one, and over the ranks that share the
// batch. dropout is of the probabilities (the head is added to its site); scale 1 / sqrt(D). Under
// tensor parallelism, which divides N, the projections and the result are of this rank's heads.
at::Tensor self_attention(const at::Tensor& qkv, int64_t heads, bool causal,
                          const kernels::Dropout& dropout, const Context& context);

// word[tokens] + position[positions] (+ type[token_types] when `type` is not null): this rank's
// rows of it under sequence parallelism. Under tensor parallelism `word` is cut by rows, and each
// rank looks up what it has. `root` is the graph's root.
at::Tensor embedding_sum(const at::Tensor& root, Param& word, Param& position, Param* type,
                         const Context& context);

}  // namespace trireme::nn
