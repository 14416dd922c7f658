#include "trireme/nn/loss.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "trireme/base/error.h"
#include "trireme/kernels/ops.h"
#include "trireme/nn/tape.h"

namespace trireme::nn {
namespace {

// A scalar loss whose gradient by `input` is already known (for an upstream gradient of 1).
at::Tensor known_loss(double loss, const at::Tensor& input, at::Tensor gradient, const char* name) {
  return record(at::tensor(loss, at::kFloat), {input}, name,
                [gradient = std::move(gradient)](
                    const std::vector<at::Tensor>& dy) -> std::vector<at::Tensor> {
                  const double upstream = dy[0].item<double>();
                  return {upstream == 1.0 ? gradient : gradient * upstream};
                });
}

// Cross entropy of one column over the rows [begin, end) against row `label` of them; adds its
// gradient * weight.
double column_cross_entropy(const float* logits, float* gradient, int64_t begin, int64_t end,
                            int64_t label, int64_t column, double weight) {
  constexpr int64_t kColumns = 2;
  double peak = -INFINITY;
  for (int64_t t = begin; t < end; ++t)
    peak = std::max<double>(peak, logits[t * kColumns + column]);
  double total = 0.0;
  for (int64_t t = begin; t < end; ++t) total += std::exp(logits[t * kColumns + column] - peak);
  for (int64_t t = begin; t < end; ++t) {
    const double p = std::exp(logits[t * kColumns + column] - peak) / total;
    gradient[t * kColumns + column] =
        static_cast<float>((p - (t == begin + label ? 1.0 : 0.0)) * weight);
  }
  return peak + std::log(total) - logits[(begin + label) * kColumns + column];
}

}  // namespace

at::Tensor span_loss(const at::Tensor& logits, const at::Tensor& starts, const at::Tensor& ends,
                     const kernels::SeqInfo& seq, int64_t count) {
  if (logits.dim() != 2 || logits.size(1) != 2 || logits.scalar_type() != at::kFloat ||
      !logits.is_contiguous() || starts.numel() != seq.sequences() ||
      ends.numel() != seq.sequences()) {
    throw input_error("span loss takes fp32 logits [T, 2] and a start and an end for each of ",
                      seq.sequences(), " sequences");
  }
  at::Tensor gradient = at::zeros_like(logits, logits.options().requires_grad(false));
  const float* x = logits.const_data_ptr<float>();
  const double weight = 0.5 / static_cast<double>(count);
  double sum = 0.0;
  for (int64_t b = 0; b < seq.sequences(); ++b) {
    const int64_t begin = seq.cu_q_host[b], end = seq.cu_q_host[b + 1];
    const int64_t labels[] = {starts.const_data_ptr<int64_t>()[b],
                              ends.const_data_ptr<int64_t>()[b]};
    for (int64_t column : {0, 1}) {
      if (labels[column] < 0 || labels[column] >= end - begin) {
        throw input_error("span label ", labels[column], " is outside its sequence of ",
                          end - begin, " tokens");
      }
      sum += column_cross_entropy(x, gradient.data_ptr<float>(), begin, end, labels[column], column,
                                  weight);
    }
  }
  return known_loss(sum * weight, logits, std::move(gradient), "SpanLoss");
}

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& labels, int64_t count) {
  at::Tensor gradient = logits.detach();
  double sum = 0.0;
  {
    at::NoGradGuard no_grad;
    const at::Tensor own = labels.masked_fill(labels == -100, -1);
    sum = kernels::cross_entropy_inplace(gradient, own, 1.0 / static_cast<double>(count));
  }
  return known_loss(sum / static_cast<double>(count), logits, std::move(gradient), "CrossEntropy");
}

}  // namespace trireme::nn
