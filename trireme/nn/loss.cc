#include "trireme/nn/loss.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "trireme/base/error.h"
#include "trireme/kernels/gemm.h"
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

// With -1 for rows that do not count.
at::Tensor own_labels(const at::Tensor& labels) {
  return labels.masked_fill(labels == -100, -1);
}

// The chunks of rows of linear_cross_entropy.
class LogitsChunks {
 public:
  LogitsChunks(const at::Tensor& x, const at::Tensor& labels, int64_t count, int64_t chunk_rows)
      : x_(x), labels_(own_labels(labels)), weight_(1.0 / static_cast<double>(count)) {
    rows_ = std::max<int64_t>(chunk_rows, 1);
  }

  int64_t size() const { return (x_.size(0) + rows_ - 1) / rows_; }
  at::Tensor rows(const at::Tensor& of, int64_t chunk) const {
    return of.narrow(0, chunk * rows_, std::min(rows_, of.size(0) - chunk * rows_));
  }
  at::Tensor x(int64_t chunk) const { return rows(x_, chunk); }

  struct Made {
    double loss_sum;
    at::Tensor d_logits;
  };
  Made make(int64_t chunk, const at::Tensor& weight) const {
    at::Tensor logits = at::linear(x(chunk), weight);
    const double sum = kernels::cross_entropy_inplace(logits, rows(labels_, chunk), weight_);
    return {sum, std::move(logits)};
  }

 private:
  at::Tensor x_, labels_;
  double weight_;
  int64_t rows_;
};

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
    sum = kernels::cross_entropy_inplace(gradient, own_labels(labels),
                                         1.0 / static_cast<double>(count));
  }
  return known_loss(sum / static_cast<double>(count), logits, std::move(gradient), "CrossEntropy");
}

at::Tensor linear_cross_entropy(const at::Tensor& x, Param& weight, const at::Tensor& labels,
                                int64_t count, const LogitsMemory& memory) {
  double sum = 0.0;
  std::vector<at::Tensor> kept;  // by chunk, as far as they are kept
  const bool keeps = recording({x});
  std::shared_ptr<const LogitsChunks> chunks;
  {
    at::NoGradGuard no_grad;
    chunks = std::make_shared<LogitsChunks>(x.detach(), labels, count, memory.chunk_rows);
    size_t kept_bytes = 0;
    for (int64_t c = 0; c < chunks->size(); ++c) {
      LogitsChunks::Made made = chunks->make(c, weight.value);
      sum += made.loss_sum;
      kept_bytes += made.d_logits.nbytes();
      if (keeps && kept_bytes <= static_cast<size_t>(memory.kept_bytes))
        kept.push_back(std::move(made.d_logits));
    }
  }
  return record(at::tensor(sum / static_cast<double>(count), at::kFloat), {x}, "LinearCrossEntropy",
                [&weight, chunks, kept = std::move(kept),
                 shape = x.sizes().vec()](const std::vector<at::Tensor>& dy) mutable {
                  const double upstream = dy[0].item<double>();
                  at::Tensor dx = at::empty(shape, weight.value.options());
                  const Param::GradTarget target = weight.grad_target();
                  float beta = target.fresh ? 0.0f : 1.0f;
                  for (int64_t c = chunks->size() - 1; c >= 0; --c) {
                    const bool is_kept = c < static_cast<int64_t>(kept.size());
                    at::Tensor d_logits = is_kept ? std::move(kept[static_cast<size_t>(c)])
                                                  : chunks->make(c, weight.value).d_logits;
                    if (upstream != 1.0) d_logits.mul_(upstream);
                    at::Tensor dx_rows = chunks->rows(dx, c);
                    at::mm_out(dx_rows, d_logits, weight.value);
                    if (!weight.wants_grad()) continue;
                    kernels::accumulate_weight_grad(d_logits, chunks->x(c), target.grad, beta);
                    beta = 1.0f;
                  }
                  if (weight.wants_grad()) weight.ready();
                  return std::vector<at::Tensor>{dx};
                });
}

}  // namespace trireme::nn
