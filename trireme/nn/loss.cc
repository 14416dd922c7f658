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
#include "trireme/nn/tensor_parallel.h"

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

// The ranks' sums [T, 3] (kernels::cross_entropy_part_sums) as those of all columns, in the order
// of the ranks. Returns the sum of the rows' cross entropies.
double combine_sums(const at::Tensor& parts_rt3, const at::Tensor& labels, at::Tensor sums_t3) {
  const int64_t ranks = parts_rt3.size(0), T = parts_rt3.size(1);
  const float* part = parts_rt3.const_data_ptr<float>();
  const int64_t* label = labels.const_data_ptr<int64_t>();
  float* sums = sums_t3.data_ptr<float>();
  double loss = 0.0;
  for (int64_t t = 0; t < T; ++t) {
    if (label[t] < 0) continue;
    float peak = -INFINITY, target = 0.0f;
    for (int64_t r = 0; r < ranks; ++r) {
      peak = std::max(peak, part[3 * (r * T + t)]);
      target += part[3 * (r * T + t) + 2];
    }
    double total = 0.0;
    for (int64_t r = 0; r < ranks; ++r) {
      const float* own = part + 3 * (r * T + t);
      total += own[1] * std::exp(static_cast<double>(own[0]) - peak);
    }
    sums[3 * t] = peak;
    sums[3 * t + 1] = static_cast<float>(total);
    loss += peak + std::log(total) - target;
  }
  return loss;
}

// The chunks of rows of linear_cross_entropy.
class LogitsChunks {
 public:
  struct Options {
    int64_t count, chunk_rows;
    const TensorParallel* tp;
  };
  LogitsChunks(const at::Tensor& x, const Param& weight, const at::Tensor& labels,
               const Options& options)
      : x_(x),
        labels_(own_labels(labels)),
        weight_(weight),
        scale_(1.0 / static_cast<double>(options.count)),
        rows_(std::max<int64_t>(options.chunk_rows, 1)),
        tp_(options.tp) {
    const int64_t vocabulary = weight.spec.shape[0];
    expect_own_part(weight, tp_);
    first_ = tp_ != nullptr ? slice_of(vocabulary, tp_->slice()).begin : 0;
    if (tp_ == nullptr) return;
    if (labels_.numel() > 0 && labels_.max().item<int64_t>() >= vocabulary) {
      throw input_error("label ", labels_.max().item<int64_t>(), " is outside the ", vocabulary,
                        " classes");
    }
    sums_ = at::empty({x.size(0), 3}, at::kFloat);
  }

  int64_t size() const { return (x_.size(0) + rows_ - 1) / rows_; }
  at::Tensor rows(const at::Tensor& of, int64_t chunk) const {
    return of.narrow(0, chunk * rows_, std::min(rows_, of.size(0) - chunk * rows_));
  }
  at::Tensor x(int64_t chunk) const { return rows(x_, chunk); }
  // Of the logits' gradients of chunks [0, chunk]: the same on all ranks.
  int64_t bytes_until(int64_t chunk) const {
    const int64_t ranks = tp_ != nullptr ? tp_->group.size() : 1;
    const int64_t widest = (weight_.spec.shape[0] + ranks - 1) / ranks;
    return std::min((chunk + 1) * rows_, x_.size(0)) * widest *
           static_cast<int64_t>(x_.element_size());
  }

  struct Made {
    double loss_sum;
    at::Tensor d_logits;
  };
  Made make(int64_t chunk) const {
    at::Tensor logits = at::linear(x(chunk), weight_.value);
    const at::Tensor labels = rows(labels_, chunk);
    if (tp_ == nullptr) {
      const double sum = kernels::cross_entropy_inplace(logits, labels, scale_);
      return {sum, std::move(logits)};
    }
    const at::Tensor own = kernels::cross_entropy_part_sums(logits, labels, first_);
    const at::Tensor parts = at::empty({tp_->group.size(), own.size(0), 3}, at::kFloat);
    tp_->group.all_gather(parts, own, "cross entropy")->wait();
    const double sum = combine_sums(parts, labels, rows(sums_, chunk));
    return {sum, gradient(chunk, std::move(logits))};
  }
  // The gradient of a chunk that was made before.
  at::Tensor make_again(int64_t chunk) const {
    if (tp_ == nullptr) return make(chunk).d_logits;
    return gradient(chunk, at::linear(x(chunk), weight_.value));
  }

 private:
  at::Tensor gradient(int64_t chunk, at::Tensor logits) const {
    kernels::cross_entropy_part_gradient(logits, rows(labels_, chunk), first_, rows(sums_, chunk),
                                         scale_);
    return logits;
  }

  at::Tensor x_, labels_;
  const Param& weight_;
  double scale_;
  int64_t rows_;
  const TensorParallel* tp_;
  int64_t first_ = 0;  // word of this rank
  at::Tensor sums_;    // fp32 [T, 3], of rows that were made; with tensor parallelism
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
                                int64_t count, const Context& context, const LogitsMemory& memory) {
  double sum = 0.0;
  std::vector<at::Tensor> kept;  // by chunk, as far as they are kept
  const bool keeps = recording({x});
  std::shared_ptr<const LogitsChunks> chunks;
  const TensorParallel* tp = weight.spec.tp == TpKind::kShard ? tensor_parallel(context) : nullptr;
  {
    at::NoGradGuard no_grad;
    chunks = std::make_shared<LogitsChunks>(x.detach(), weight, labels,
                                            LogitsChunks::Options{count, memory.chunk_rows, tp});
    for (int64_t c = 0; c < chunks->size(); ++c) {
      LogitsChunks::Made made = chunks->make(c);
      sum += made.loss_sum;
      if (keeps && chunks->bytes_until(c) <= memory.kept_bytes)
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
                    at::Tensor d_logits =
                        is_kept ? std::move(kept[static_cast<size_t>(c)]) : chunks->make_again(c);
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
