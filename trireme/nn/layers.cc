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

// W's gradient dy^T x.
void add_weight_grad(const at::Tensor& dy, const at::Tensor& x, Param& weight) {
  if (!weight.wants_grad()) return;
  weight.later([dy, x, &weight] {
    const at::NoGradGuard no_grad;
    const Param::GradTarget target = weight.grad_target();
    kernels::accumulate_weight_grad(dy, x, target.grad, target.fresh ? 0.0f : 1.0f);
    weight.ready();
  });
}

// The gradients of y = x W^T: W's into main_grad; x's returned when wanted.
at::Tensor linear_backward(const at::Tensor& dy, const at::Tensor& x, Param& weight,
                           bool wants_dx) {
  at::Tensor dx = wants_dx ? at::mm(dy, weight.value) : at::Tensor();
  add_weight_grad(dy, x, weight);
  return dx;
}

// The same of y = x W.
at::Tensor conv1d_backward(const at::Tensor& dy, const at::Tensor& x, Param& weight,
                           bool wants_dx) {
  at::Tensor dx = wants_dx ? at::linear(dy, weight.value) : at::Tensor();
  add_weight_grad(x, dy, weight);  // W is the transpose of Linear's
  return dx;
}

void bias_backward(const at::Tensor& dy, Param& bias) {
  if (!bias.wants_grad()) return;
  kernels::add_column_sums(dy, bias.grad());
  bias.ready();
}

}  // namespace

Linear::Linear(const std::string& name, int64_t in, const std::vector<Part>& parts, double init_std)
    : weight(matrix_spec(name + ".weight", suffixed(parts, ".weight"), in, init_std)),
      bias(vector_spec(name + ".bias", suffixed(parts, ".bias"), InitKind::kZeros)) {}

Linear::Linear(const std::string& name, int64_t in, int64_t out, double init_std)
    : Linear(name, in, std::vector<Part>{{name, out}}, init_std) {}

at::Tensor linear(const at::Tensor& x, Param& weight, Param* bias) {
  at::Tensor y;
  {
    at::NoGradGuard no_grad;
    y = at::linear(x, weight.value, bias != nullptr ? bias->value : at::Tensor());
  }
  return record(y, {x}, "Linear",
                [&weight, bias, x, wants_dx = x.requires_grad()](const Tensors& dy) -> Tensors {
                  const at::Tensor d = dy[0].contiguous();
                  if (bias != nullptr) bias_backward(d, *bias);
                  return {linear_backward(d, x.detach(), weight, wants_dx)};
                });
}

at::Tensor Linear::forward(const at::Tensor& x) {
  return linear(x, weight, &bias);
}

at::Tensor Linear::product(const at::Tensor& x) {
  at::Tensor y;
  {
    at::NoGradGuard no_grad;
    y = at::linear(x, weight.value);
  }
  return record(y, {x}, "LinearProduct",
                [this, x, wants_dx = x.requires_grad()](const Tensors& dy) -> Tensors {
                  return {linear_backward(dy[0].contiguous(), x.detach(), weight, wants_dx)};
                });
}

at::Tensor Linear::logits(const at::Tensor& x) {
  at::Tensor y;
  {
    at::NoGradGuard no_grad;
    const int64_t T = x.size(0), in = x.size(1), out = weight.value.size(0);
    y = at::empty({T, out}, x.options().dtype(at::kFloat));
    kernels::gemm(x.scalar_type(), T, out, in, {x.data_ptr(), x.stride(0)},
                  {weight.value.data_ptr(), in, true}, 0.0f, y.data_ptr<float>(), out);
    y.add_(bias.value);
  }
  return record(
      y, {x}, "Logits", [this, x, wants_dx = x.requires_grad()](const Tensors& dy) -> Tensors {
        bias_backward(dy[0].contiguous(), bias);
        return {
            linear_backward(dy[0].to(x.scalar_type()).contiguous(), x.detach(), weight, wants_dx)};
      });
}

void Linear::collect(std::vector<Param*>& params) {
  params.push_back(&weight);
  params.push_back(&bias);
}

Conv1D::Conv1D(const std::string& name, int64_t in, int64_t out, double init_std)
    : weight(matrix_spec(name + ".weight", in, out, init_std)),
      bias(vector_spec(name + ".bias", out, InitKind::kZeros)) {}

at::Tensor Conv1D::forward(const at::Tensor& x) {
  at::Tensor y;
  {
    at::NoGradGuard no_grad;
    y = at::addmm(bias.value, x, weight.value);
  }
  return record(y, {x}, "Conv1D",
                [this, x, wants_dx = x.requires_grad()](const Tensors& dy) -> Tensors {
                  const at::Tensor d = dy[0].contiguous();
                  bias_backward(d, bias);
                  return {conv1d_backward(d, x.detach(), weight, wants_dx)};
                });
}

at::Tensor Conv1D::product(const at::Tensor& x) {
  at::Tensor y;
  {
    at::NoGradGuard no_grad;
    y = at::mm(x, weight.value);
  }
  return record(y, {x}, "Conv1DProduct",
                [this, x, wants_dx = x.requires_grad()](const Tensors& dy) -> Tensors {
                  return {conv1d_backward(dy[0].contiguous(), x.detach(), weight, wants_dx)};
                });
}

void Conv1D::collect(std::vector<Param*>& params) {
  params.push_back(&weight);
  params.push_back(&bias);
}

LayerNorm::LayerNorm(const std::string& name, int64_t size, double epsilon)
    : weight(vector_spec(name + ".weight", size, InitKind::kOnes)),
      bias(vector_spec(name + ".bias", size, InitKind::kZeros)),
      epsilon(epsilon) {}

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
             context.dropout};
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
  at::Tensor sum;
  {
    at::NoGradGuard no_grad;
    sum = kernels::dropout_add(y, bias.value, residual, drop, context.dropout);
  }
  return record(sum, {y, residual}, "DropoutAdd",
                [&bias, drop, key = context.dropout](const Tensors& d_sum) -> Tensors {
                  const at::Tensor d = d_sum[0].contiguous();
                  const at::Tensor dy = kernels::dropout(d, drop, key);
                  bias_backward(dy, bias);
                  return {dy, d};
                });
}

at::Tensor dropout(const at::Tensor& x, const kernels::Dropout& dropout, const Context& context) {
  if (!context.training || dropout.p == 0.0) return x;
  at::Tensor y;
  {
    at::NoGradGuard no_grad;
    y = kernels::dropout(x, dropout, context.dropout);
  }
  return record(y, {x}, "Dropout", [dropout, key = context.dropout](const Tensors& dy) -> Tensors {
    return {kernels::dropout(dy[0].contiguous(), dropout, key)};
  });
}

at::Tensor self_attention(const at::Tensor& qkv, int64_t heads, bool causal,
                          const kernels::Dropout& dropout, const Context& context) {
  const int64_t T = qkv.size(0), H = qkv.size(1) / 3, D = H / heads;
  kernels::AttentionOptions options{causal, 1.0 / std::sqrt(static_cast<double>(D)),
                                    active(dropout, context), context.dropout};
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
  at::Tensor y;
  {
    at::NoGradGuard no_grad;
    y = kernels::embedding_sum(word.value, context.tokens, position.value, context.positions,
                               type != nullptr ? type->value : at::Tensor(), context.token_types);
  }
  return record(y, {root}, "EmbeddingSum",
                [&word, &position, type, tokens = context.tokens, positions = context.positions,
                 types = context.token_types](const Tensors& dy) -> Tensors {
                  const at::Tensor d = dy[0].contiguous();
                  for (auto [param, index] :
                       {std::pair{&word, &tokens}, {&position, &positions}, {type, &types}}) {
                    if (param == nullptr || !param->wants_grad()) continue;
                    kernels::scatter_add_rows(d, *index, param->grad());
                    param->ready();
                  }
                  return {at::Tensor()};
                });
}

}  // namespace trireme::nn
