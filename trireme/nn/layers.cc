#include "trireme/nn/layers.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <tuple>

#include "trireme/base/error.h"
#include "trireme/kernels/attention.h"
#include "trireme/kernels/gemm.h"
#include "trireme/kernels/ops.h"
#include "trireme/nn/context_parallel.h"
#include "trireme/nn/kv_cache.h"
#include "trireme/nn/tape.h"
#include "trireme/nn/tensor_parallel.h"

namespace trireme::nn {
namespace {

using Tensors = std::vector<at::Tensor>;

std::vector<Part> suffixed(std::vector<Part> parts, const char* suffix) {
  for (Part& part : parts) part.name += suffix;
  return parts;
}

kernels::Dropout active(const kernels::Dropout& dropout, const Context& context) {
  return context.training ? dropout : kernels::Dropout{0.0, dropout.site};
}

// Of a model's heads, those that this rank computes.
DimRange own_heads(int64_t heads, const Context& context) {
  const TensorParallel* tp = tensor_parallel(context);
  if (tp == nullptr) return {0, heads};
  if (heads % tp->group.size() != 0) {
    throw input_error(heads, " attention heads do not divide over ", tp->group.size(),
                      " ranks of tensor parallelism");
  }
  return slice_of(heads, tp->slice());
}

void table_backward(const at::Tensor& dy, Param& table, const at::Tensor& index) {
  if (!table.wants_grad()) return;
  kernels::scatter_add_rows(dy, index, table.grad());
  table.ready();
}

// Which rows have tokens of this rank's slice of the vocabulary, and where those are in it.
struct OwnTokens {
  OwnTokens(const at::Tensor& tokens, const Param& word, const TensorParallel& tp) {
    const int64_t vocabulary = word.spec.shape[0];
    const DimRange own = slice_of(vocabulary, tp.slice());
    std::vector<int64_t> own_rows, own_words;
    const int64_t* token = tokens.const_data_ptr<int64_t>();
    for (int64_t t = 0; t < tokens.numel(); ++t) {
      if (token[t] < 0 || token[t] >= vocabulary)
        throw input_error("token id ", token[t], " is outside the table of ", vocabulary, " rows");
      if (token[t] < own.begin || token[t] >= own.end) continue;
      own_rows.push_back(t);
      own_words.push_back(token[t] - own.begin);
    }
    rows = at::tensor(own_rows, at::kLong);
    words = at::tensor(own_words, at::kLong);
  }
  at::Tensor rows, words;  // int64
};

void word_backward(const at::Tensor& dy, Param& word, const at::Tensor& tokens,
                   const TensorParallel& tp) {
  const OwnTokens own(tokens, word, tp);
  table_backward(dy.index_select(0, own.rows), word, own.words);
}

// Rows of the word table by token, zero where another rank has them; summed over the ranks.
PendingTensor own_words(const Param& word, const at::Tensor& tokens, const TensorParallel& tp) {
  const OwnTokens own(tokens, word, tp);
  at::Tensor y = empty_partial({tokens.size(0), word.value.size(1)}, word.value.scalar_type(), tp);
  y.zero_().index_copy_(0, own.rows, word.value.index_select(0, own.words));
  return sum_over_ranks(y, tp, "word embeddings");
}

// The specs of a product's matrix and bias, cut: outputs are along weight's dim `out_dim`.
void cut_params(Param& weight, Param& bias, int out_dim, TpCut cut, int blocks = 1) {
  if (cut == TpCut::kNone) return;
  weight.spec.tp = TpKind::kShard;
  if (cut == TpCut::kRow) {
    weight.spec.tp_dim = 1 - out_dim;
    bias.spec.tp = TpKind::kReplicatedPartialGrad;
    return;
  }
  weight.spec.tp_dim = out_dim;
  weight.spec.tp_blocks = blocks;
  bias.spec.tp = TpKind::kShard;
  bias.spec.tp_blocks = blocks;
}

}  // namespace

at::Tensor linear(const at::Tensor& x, Param& weight, Param* bias) {
  return product(x, {.weight = weight, .bias = bias, .name = "Linear"}, {});
}

Linear::Linear(const std::string& name, int64_t in, const std::vector<Part>& parts, double init_std,
               TpCut cut)
    : weight(matrix_spec(name + ".weight", suffixed(parts, ".weight"), in, init_std)),
      bias(vector_spec(name + ".bias", suffixed(parts, ".bias"), InitKind::kZeros)),
      cut_(cut) {
  cut_params(weight, bias, /*out_dim=*/0, cut);
}

Linear::Linear(const std::string& name, int64_t in, int64_t out, double init_std, TpCut cut)
    : Linear(name, in, std::vector<Part>{{name, out}}, init_std, cut) {}

at::Tensor Linear::forward(const at::Tensor& x, const Context& context) {
  return nn::product(x, {.weight = weight, .bias = &bias, .cut = cut_, .name = "Linear"}, context);
}

at::Tensor Linear::product(const at::Tensor& x, const Context& context) {
  return nn::product(x, {.weight = weight, .bias = nullptr, .cut = cut_, .name = "LinearProduct"},
                     context);
}

at::Tensor Linear::logits(const at::Tensor& x) {
  if (cut_ != TpCut::kNone) throw run_error(weight.spec.name, ": logits are of whole matrices");
  at::Tensor y;
  {
    at::NoGradGuard no_grad;
    const int64_t T = x.size(0), in = x.size(1), out = weight.value.size(0);
    y = at::empty({T, out}, x.options().dtype(at::kFloat));
    kernels::gemm(x.scalar_type(), T, out, in, {x.data_ptr(), x.stride(0)},
                  {weight.value.data_ptr(), in, true}, 0.0f, y.data_ptr<float>(), out);
    y.add_(bias.value);
  }
  return record(y, {x}, "Logits",
                [this, x, wants_dx = x.requires_grad()](const Tensors& dy) -> Tensors {
                  bias_backward(dy[0].contiguous(), bias);
                  return {product_backward(dy[0].to(x.scalar_type()).contiguous(), x.detach(),
                                           {.weight = weight, .bias = nullptr}, wants_dx)};
                });
}

void Linear::collect(std::vector<Param*>& params) {
  params.push_back(&weight);
  params.push_back(&bias);
}

Conv1D::Conv1D(const std::string& name, int64_t in, int64_t out, double init_std, TpCut cut,
               int blocks)
    : weight(matrix_spec(name + ".weight", in, out, init_std)),
      bias(vector_spec(name + ".bias", out, InitKind::kZeros)),
      cut_(cut) {
  cut_params(weight, bias, /*out_dim=*/1, cut, blocks);
}

at::Tensor Conv1D::forward(const at::Tensor& x, const Context& context) {
  return nn::product(x, {weight, &bias, MatrixLayout::kInOut, cut_, "Conv1D"}, context);
}

at::Tensor Conv1D::product(const at::Tensor& x, const Context& context) {
  return nn::product(x, {weight, nullptr, MatrixLayout::kInOut, cut_, "Conv1DProduct"}, context);
}

void Conv1D::collect(std::vector<Param*>& params) {
  params.push_back(&weight);
  params.push_back(&bias);
}

LayerNorm::LayerNorm(const std::string& name, int64_t size, double epsilon, TpKind tp)
    : weight(vector_spec(name + ".weight", size, InitKind::kOnes)),
      bias(vector_spec(name + ".bias", size, InitKind::kZeros)),
      epsilon(epsilon) {
  weight.spec.tp = bias.spec.tp = tp;
}

LayerNorm::SumAndNorm LayerNorm::run(const at::Tensor& y, Param* y_bias, const at::Tensor& residual,
                                     const kernels::Dropout& dropout, const Context& context,
                                     bool keep_sum) {
  kernels::NormInput input;
  kernels::NormResult result;
  {
    at::NoGradGuard no_grad;
    input = {y.detach(),
             y_bias != nullptr ? y_bias->value : at::Tensor(),
             residual.defined() ? residual.detach() : at::Tensor(),
             weight.value,
             bias.value,
             epsilon,
             active(dropout, context),
             dropout_key(y, context)};
    result = kernels::dropout_add_norm(input);
    // Backward needs neither input: the sum is kept. Values are read when it runs.
    for (at::Tensor* unneeded :
         {&input.y_tn, &input.residual_tn, &input.bias_n, &input.gamma_n, &input.beta_n}) {
      *unneeded = at::Tensor();
    }
  }
  // The sum is an output only where it is used: autograd would make zeros for its gradient.
  Tensors outputs{result.out_tn};
  if (keep_sum) outputs.push_back(result.sum_tn);
  record(outputs, {y, residual}, "DropoutAddNorm",
         [this, y_bias, input = std::move(input), mean = result.mean_t, rstd = result.rstd_t,
          sum = result.sum_tn.detach(), keep_sum](const Tensors& dz) mutable -> Tensors {
           if (y_bias != nullptr) input.bias_n = y_bias->value;
           input.gamma_n = weight.value;
           input.beta_n = bias.value;
           const bool biased = y_bias != nullptr && y_bias->wants_grad();
           const kernels::NormGrads grads = kernels::dropout_add_norm_backward(
               dz[0].contiguous(), keep_sum ? dz[1].contiguous() : at::Tensor(), input,
               {at::Tensor(), sum, mean, rstd}, biased ? y_bias->grad() : at::Tensor(),
               weight.grad(), bias.grad());
           bias.ready();
           weight.ready();
           if (biased) y_bias->ready();
           return {grads.dy_tn, grads.d_residual_tn};
         });
  return {result.sum_tn, result.out_tn};
}

at::Tensor LayerNorm::forward(const at::Tensor& x) {
  return run(x, nullptr, {}, {}, {}, /*keep_sum=*/false).norm_th;
}

at::Tensor LayerNorm::add(const at::Tensor& y, Param& y_bias, const at::Tensor& residual,
                          const kernels::Dropout& dropout, const Context& context) {
  return run(y, &y_bias, residual, dropout, context, /*keep_sum=*/false).norm_th;
}

LayerNorm::SumAndNorm LayerNorm::add_keeping_sum(const at::Tensor& y, Param& y_bias,
                                                 const at::Tensor& residual,
                                                 const kernels::Dropout& dropout,
                                                 const Context& context) {
  return run(y, &y_bias, residual, dropout, context, /*keep_sum=*/true);
}

void LayerNorm::collect(std::vector<Param*>& params) {
  params.push_back(&weight);
  params.push_back(&bias);
}

at::Tensor bias_gelu(kernels::Gelu form, const at::Tensor& h, Param& bias) {
  at::Tensor y;
  {
    at::NoGradGuard no_grad;
    y = kernels::bias_gelu(form, h, bias.value);
  }
  return record(y, {h}, "BiasGelu", [form, h, &bias](const Tensors& dy) -> Tensors {
    at::Tensor dh =
        kernels::bias_gelu_backward(form, dy[0].contiguous(), h.detach(), bias.value, bias.grad());
    bias.ready();
    return {dh};
  });
}

at::Tensor dropout_add(const at::Tensor& y, Param& bias, const at::Tensor& residual,
                       const kernels::Dropout& dropout, const Context& context) {
  const kernels::Dropout drop = active(dropout, context);
  const kernels::DropoutKey key = dropout_key(y, context);
  at::Tensor sum;
  {
    at::NoGradGuard no_grad;
    sum = kernels::dropout_add(y, bias.value, residual, drop, key);
  }
  return record(sum, {y, residual}, "DropoutAdd",
                [&bias, drop, key](const Tensors& d_sum) -> Tensors {
                  const at::Tensor d = d_sum[0].contiguous();
                  const at::Tensor dy = kernels::dropout(d, drop, key);
                  bias_backward(dy, bias);
                  return {dy, d};
                });
}

at::Tensor dropout(const at::Tensor& x, const kernels::Dropout& dropout, const Context& context) {
  if (!context.training || dropout.p == 0.0) return x;
  const kernels::DropoutKey key = dropout_key(x, context);
  at::Tensor y;
  {
    at::NoGradGuard no_grad;
    y = kernels::dropout(x, dropout, key);
  }
  return record(y, {x}, "Dropout", [dropout, key](const Tensors& dy) -> Tensors {
    return {kernels::dropout(dy[0].contiguous(), dropout, key)};
  });
}

at::Tensor self_attention(const at::Tensor& qkv, int64_t all_heads, bool causal,
                          const kernels::Dropout& dropout, const Context& context) {
  const DimRange own = own_heads(all_heads, context);
  const int64_t heads = own.size();
  const int64_t T = qkv.size(0), H = qkv.size(1) / 3, D = H / heads;
  kernels::AttentionOptions options{causal, 1.0 / std::sqrt(static_cast<double>(D)),
                                    active(dropout, context), context.dropout};
  options.dropout.site += static_cast<uint32_t>(own.begin);
  if (context.cp != nullptr) {
    if (context.cache != nullptr)
      throw input_error("a key-value cache is of one rank: no context parallel with it");
    return context_parallel_attention(qkv, heads, options, context.cp);
  }
  // q, k and v as views of one tensor.
  auto split = [=](const at::Tensor& fused) { return fused.detach().view({T, 3, heads, D}); };
  kernels::AttentionResult result;
  {
    at::NoGradGuard no_grad;
    const at::Tensor all = split(qkv);
    at::Tensor k = all.select(1, 1), v = all.select(1, 2);
    if (context.cache != nullptr) std::tie(k, v) = context.cache->append(k, v);
    result = kernels::attention(all.select(1, 0), k, v, *context.seq, options);
  }
  at::Tensor out = result.out.view({T, H});
  return record(
      out.detach(), {qkv}, "SelfAttention", [=, seq = *context.seq](const Tensors& dy) -> Tensors {
        const at::Tensor all = split(qkv);
        at::Tensor d_qkv = at::empty({T, 3, heads, D}, qkv.options().requires_grad(false));
        kernels::attention_backward(dy[0].contiguous().view({T, heads, D}), all.select(1, 0),
                                    all.select(1, 1), all.select(1, 2), result, seq, options,
                                    d_qkv.select(1, 0), d_qkv.select(1, 1), d_qkv.select(1, 2));
        return {d_qkv.view({T, 3 * H})};
      });
}

at::Tensor embedding_sum(const at::Tensor& root, Param& word, Param& position, Param* type,
                         const Context& context) {
  const TensorParallel* tp = word.spec.tp == TpKind::kShard ? tensor_parallel(context) : nullptr;
  expect_own_part(word, tp);
  // A table that is not cut is looked up for this rank's rows alone.
  const at::Tensor tokens = tp != nullptr ? context.tokens : own_rows(context.tokens, context);
  const at::Tensor positions = own_rows(context.positions, context);
  const at::Tensor types = type != nullptr ? own_rows(context.token_types, context) : at::Tensor();
  at::Tensor y;
  {
    at::NoGradGuard no_grad;
    at::Tensor table = word.value, rows = tokens;
    if (tp != nullptr) {
      table = own_words(word, tokens, *tp).wait();
      rows = at::arange(table.size(0), at::kLong);
    }
    y = kernels::embedding_sum(table, rows, position.value, positions,
                               type != nullptr ? type->value : at::Tensor(), types);
  }
  return record(
      y, {root}, "EmbeddingSum",
      [&word, &position, type, tp, tokens, positions, types](const Tensors& dy) -> Tensors {
        const at::Tensor d = dy[0].contiguous();
        if (tp != nullptr) {
          word_backward(gather_rows(d, *tp, "embeddings' gradient").wait(), word, tokens, *tp);
        } else {
          table_backward(d, word, tokens);
        }
        table_backward(d, position, positions);
        if (type != nullptr) table_backward(d, *type, types);
        return {at::Tensor()};
      });
}

}  // namespace trireme::nn
