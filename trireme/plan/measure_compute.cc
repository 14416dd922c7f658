#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <functional>

#include "trireme/base/clock.h"
#include "trireme/kernels/attention.h"
#include "trireme/kernels/gemm.h"
#include "trireme/kernels/ops.h"
#include "trireme/nn/tape.h"
#include "trireme/optim/adamw.h"
#include "trireme/optim/grad_norm.h"
#include "trireme/plan/measure.h"

namespace trireme::plan {
namespace {

constexpr size_t kLeastRuns = 3;
// Operands are taken in turn, as in a model: no layer finds its weights in a core's cache.
constexpr int64_t kCopies = 3;

at::ScalarType torch_dtype(Dtype dtype) {
  return dtype == Dtype::kBf16 ? at::kBFloat16 : at::kFloat;
}

class Copies {
 public:
  explicit Copies(const at::Tensor& x) {
    for (int64_t i = 0; i < kCopies; ++i) list_.push_back(x.clone());
  }
  const at::Tensor& next() { return list_[static_cast<size_t>(i_++ % kCopies)]; }

 private:
  std::vector<at::Tensor> list_;
  int64_t i_ = 0;
};

class Bench {
 public:
  explicit Bench(const MeasureOptions& options) : options_(options) {}

  // Median; the first run warms up.
  double seconds(const std::function<void()>& run) const {
    run();
    std::vector<double> times;
    double spent = 0;
    while (times.size() < kLeastRuns || spent < options_.point_s) {
      const Stopwatch watch(clock_);
      run();
      times.push_back(watch.seconds());
      spent += times.back();
    }
    std::nth_element(times.begin(), times.begin() + static_cast<ptrdiff_t>(times.size() / 2),
                     times.end());
    return std::max(times[times.size() / 2], 1e-9);
  }

  Curve curve(const std::vector<int64_t>& sizes,
              const std::function<std::function<void()>(int64_t)>& at_size) const {
    Curve curve;
    for (const int64_t n : sizes) {
      curve.size.push_back(static_cast<double>(n));
      curve.seconds.push_back(seconds(at_size(n)));
    }
    return curve;
  }

  ProductGrid products(Product product, Dtype dtype) const;
  AttentionGrid attention(AttentionKind kind, Dtype dtype) const;
  void row_ops(Dtype dtype, DtypeRates& rates) const;
  Curve adamw(Dtype dtype) const;

  std::vector<int64_t> element_counts() const {
    if (options_.quick) return {1 << 14, 1 << 20};
    return {1 << 14, 1 << 17, 1 << 20, 1 << 22};
  }

 private:
  std::function<void()> product_run(Product product, at::ScalarType dtype, int64_t rows, int64_t in,
                                    int64_t out) const;

  MeasureOptions options_;
  SteadyClock clock_;
};

std::function<void()> Bench::product_run(Product product, at::ScalarType dtype, int64_t rows,
                                         int64_t in, int64_t out) const {
  Copies x(at::randn({rows, in}).to(dtype));
  switch (product) {
    case Product::kLinear:
      return [x, w = Copies(at::randn({out, in}).to(dtype))]() mutable {
        at::linear(x.next(), w.next());
      };
    case Product::kMm:
      return
          [x, w = Copies(at::randn({in, out}).to(dtype))]() mutable { at::mm(x.next(), w.next()); };
    case Product::kWeightGrad:
      break;
  }
  return [x, dy = Copies(at::randn({rows, out}).to(dtype)),
          grad = Copies(at::zeros({out, in}))]() mutable {
    kernels::accumulate_weight_grad(dy.next(), x.next(), grad.next(), 1.0f);
  };
}

ProductGrid Bench::products(Product product, Dtype dtype) const {
  ProductGrid grid;
  grid.rows = options_.quick ? std::vector<int64_t>{64, 512, 4096}
                             : std::vector<int64_t>{64, 256, 1024, 4096};
  grid.in = grid.out = options_.quick ? std::vector<int64_t>{64, 512, 4096}
                                      : std::vector<int64_t>{64, 256, 1024, 4096, 16384};
  const size_t I = grid.in.size(), O = grid.out.size();
  grid.gflops.assign(grid.rows.size() * I * O, 0);
  const auto cell = [&](size_t r, size_t i, size_t o) -> double& {
    return grid.gflops[(r * I + i) * O + o];
  };
  for (size_t r = 0; r < grid.rows.size(); ++r) {
    for (size_t i = 0; i < I; ++i) {
      for (size_t o = 0; o < O; ++o) {
        const double flops = 2.0 * static_cast<double>(grid.rows[r]) *
                             static_cast<double>(grid.in[i]) * static_cast<double>(grid.out[o]);
        if (flops > options_.most_flops) {
          // The rate no longer grows: that of fewer rows, or of the narrower matrix.
          cell(r, i, o) = r > 0 ? cell(r - 1, i, o) : o > i ? cell(r, i, o - 1) : cell(r, i - 1, o);
          continue;
        }
        cell(r, i, o) = flops * 1e-9 /
                        seconds(product_run(product, torch_dtype(dtype), grid.rows[r], grid.in[i],
                                            grid.out[o]));
      }
    }
  }
  return grid;
}

AttentionGrid Bench::attention(AttentionKind kind, Dtype dtype) const {
  constexpr int64_t kHeads = 4, kTokens = 1024;
  AttentionGrid grid;
  grid.head_sizes = options_.quick ? std::vector<int64_t>{64} : std::vector<int64_t>{32, 64, 128};
  grid.lengths =
      options_.quick ? std::vector<int64_t>{64, 512} : std::vector<int64_t>{16, 64, 256, 1024};
  for (const int64_t D : grid.head_sizes) {
    for (const int64_t L : grid.lengths) {
      const int64_t sequences = kTokens / L;
      const std::vector<int32_t> lengths(static_cast<size_t>(sequences), static_cast<int32_t>(L));
      const kernels::SeqInfo seq = kernels::SeqInfo::self(lengths);
      kernels::AttentionOptions options{
          .causal = kind.causal, .scale = 0.125, .dropout = {}, .key = {}};
      if (kind.dropout) {
        options.dropout.p = 0.1;
        options.key.row_sample = at::zeros({kTokens}, at::kInt);
        options.key.row_position = at::arange(kTokens, at::kInt);
      }
      // Slices of one fused product, as in the layers.
      const auto fused = [&] { return at::randn({kTokens, 3, kHeads, D}).to(torch_dtype(dtype)); };
      Copies qkv(fused());
      const auto forward = [&] {
        const at::Tensor& x = qkv.next();
        return kernels::attention(x.select(1, 0), x.select(1, 1), x.select(1, 2), seq, options);
      };
      const kernels::AttentionResult result = forward();
      const at::Tensor d_out = at::randn_like(result.out), d_qkv = at::empty_like(qkv.next());
      const double s = seconds([&] {
        if (!kind.backward) {
          forward();
          return;
        }
        const at::Tensor& x = qkv.next();
        kernels::attention_backward(d_out, x.select(1, 0), x.select(1, 1), x.select(1, 2), result,
                                    seq, options, d_qkv.select(1, 0), d_qkv.select(1, 1),
                                    d_qkv.select(1, 2));
      });
      grid.pair_ns.push_back(1e9 * s / static_cast<double>(kHeads * sequences * L * L));
    }
  }
  return grid;
}

void Bench::row_ops(Dtype dtype, DtypeRates& rates) const {
  constexpr int64_t kWidth = 512, kClasses = 8192;
  const at::ScalarType type = torch_dtype(dtype);
  const auto set = [&](RowOp op, const std::function<std::function<void()>(int64_t)>& at_rows) {
    rates.row_ops[static_cast<size_t>(op)] =
        curve(element_counts(), [&](int64_t n) { return at_rows(n / kWidth); });
  };
  const auto matrix = [type](int64_t rows) { return at::randn({rows, kWidth}).to(type); };
  const at::Tensor bias = at::randn({kWidth}).to(type), gamma = at::ones({kWidth}, type);
  const at::Tensor bias_grad = at::zeros({kWidth}), gamma_grad = at::zeros({kWidth}),
                   beta_grad = at::zeros({kWidth});
  const auto key = [](int64_t rows) {
    kernels::DropoutKey k;
    k.row_sample = at::zeros({rows}, at::kInt);
    k.row_position = at::arange(rows, at::kInt);
    return k;
  };
  constexpr kernels::Dropout kDrop{0.1, 0};

  for (const auto form : {kernels::Gelu::kErf, kernels::Gelu::kTanh}) {
    const bool erf = form == kernels::Gelu::kErf;
    set(erf ? RowOp::kGelu : RowOp::kGeluTanh, [&, form](int64_t rows) {
      return [&, form, h = Copies(matrix(rows))]() mutable {
        kernels::bias_gelu(form, h.next(), bias);
      };
    });
    set(erf ? RowOp::kGeluBackward : RowOp::kGeluTanhBackward, [&, form](int64_t rows) {
      return [&, form, h = Copies(matrix(rows)), dy = Copies(matrix(rows))]() mutable {
        kernels::bias_gelu_backward(form, dy.next(), h.next(), bias, bias_grad);
      };
    });
  }
  enum class Norm { kAlone, kAdds, kDrops };
  for (const Norm norm : {Norm::kAlone, Norm::kAdds, Norm::kDrops}) {
    const auto input = [&, norm, key](const at::Tensor& y, const at::Tensor& residual) {
      kernels::NormInput in{.y_tn = y,
                            .bias_n = {},
                            .residual_tn = {},
                            .gamma_n = gamma,
                            .beta_n = bias,
                            .epsilon = 1e-5,
                            .dropout = {},
                            .key = {}};
      if (norm == Norm::kAlone) return in;
      in.bias_n = bias;
      in.residual_tn = residual;
      if (norm == Norm::kDrops) {
        in.dropout = kDrop;
        in.key = key(y.size(0));
      }
      return in;
    };
    const auto pick = [norm](RowOp alone, RowOp adds, RowOp drops) {
      return norm == Norm::kAlone ? alone : norm == Norm::kAdds ? adds : drops;
    };
    set(pick(RowOp::kNorm, RowOp::kAddNorm, RowOp::kDropAddNorm), [&](int64_t rows) {
      auto in = input(matrix(rows), matrix(rows));
      return [in, y = Copies(in.y_tn)]() mutable {
        in.y_tn = y.next();
        kernels::dropout_add_norm(in);
      };
    });
    set(pick(RowOp::kNormBackward, RowOp::kAddNormBackward, RowOp::kDropAddNormBackward),
        [&, norm](int64_t rows) {
          auto in = input(matrix(rows), matrix(rows));
          kernels::NormResult forward = kernels::dropout_add_norm(in);
          return [in, forward, norm, &bias_grad, &gamma_grad, &beta_grad,
                  sum = Copies(forward.sum_tn), dz = Copies(matrix(rows))]() mutable {
            forward.sum_tn = sum.next();
            kernels::dropout_add_norm_backward(dz.next(), {}, in, forward,
                                               norm == Norm::kAlone ? at::Tensor() : bias_grad,
                                               gamma_grad, beta_grad);
          };
        });
  }
  for (const double p : {0.0, 0.1}) {
    set(p > 0 ? RowOp::kDropAdd : RowOp::kAdd, [&, p](int64_t rows) {
      return [&, p, k = key(rows), y = Copies(matrix(rows)), r = Copies(matrix(rows))]() mutable {
        kernels::dropout_add(y.next(), bias, r.next(), {p, 0}, k);
      };
    });
  }
  set(RowOp::kDropout, [&](int64_t rows) {
    return [k = key(rows), x = Copies(matrix(rows)), kDrop]() mutable {
      kernels::dropout(x.next(), kDrop, k);
    };
  });
  set(RowOp::kColumnSums, [&](int64_t rows) {
    return
        [&, x = Copies(matrix(rows))]() mutable { kernels::add_column_sums(x.next(), bias_grad); };
  });
  set(RowOp::kSum, [&](int64_t rows) {
    return [x = Copies(at::zeros({rows, kWidth}, type)), y = Copies(matrix(rows))]() mutable {
      at::Tensor(x.next()).add_(y.next());
    };
  });
  constexpr int64_t kTable = 16384;
  const auto index = [](int64_t rows) { return at::randint(kTable, {rows}, at::kLong); };
  const at::Tensor table = at::randn({kTable, kWidth}).to(type);
  set(RowOp::kEmbed, [&](int64_t rows) {
    return [table, i = Copies(index(rows))]() mutable {
      kernels::embedding_sum(table, i.next(), table, i.next(), {}, {});
    };
  });
  set(RowOp::kScatter, [&](int64_t rows) {
    return
        [to = at::zeros({kTable, kWidth}), i = Copies(index(rows)),
         x = Copies(matrix(rows))]() mutable { kernels::scatter_add_rows(x.next(), i.next(), to); };
  });
  rates.row_ops[static_cast<size_t>(RowOp::kCrossEntropy)] =
      curve(element_counts(), [&](int64_t n) {
        const int64_t rows = n / kClasses;
        return [logits = Copies(at::randn({rows, kClasses}).to(type)),
                labels = at::zeros({rows}, at::kLong)]() mutable {
          kernels::cross_entropy_inplace(logits.next(), labels, 1e-3);
        };
      });
  set(RowOp::kConcat, [&](int64_t rows) {
    return [to = Copies(matrix(rows)), from = Copies(matrix(rows))]() mutable {
      at::Tensor(to.next()).copy_(from.next());
    };
  });
}

Curve Bench::adamw(Dtype dtype) const {
  return curve(element_counts(), [&](int64_t n) {
    optim::FlatBuffer buffer;
    buffer.name = "bench";
    buffer.ranges = {{0, n, true, 1.0}};
    buffer.master = at::zeros({n});
    buffer.grad = at::full({n}, 1e-3);
    buffer.value = dtype == Dtype::kBf16 ? at::zeros({n}, at::kBFloat16) : buffer.master;
    auto adamw = std::make_shared<optim::AdamW>(std::vector<optim::FlatBuffer>{buffer},
                                                optim::AdamWOptions{});
    return [adamw] { adamw->step({.lr = 1e-4, .grad_factor = 0.5}); };
  });
}

// A chain of nodes that do nothing: what recording and running one takes.
double node_seconds(const Bench& bench) {
  constexpr int kNodes = 200;
  const at::AutoGradMode grad_mode(true);
  const double s = bench.seconds([] {
    at::Tensor x = nn::graph_root();
    for (int i = 0; i < kNodes; ++i) {
      at::Tensor y;
      {
        const at::NoGradGuard no_grad;
        y = at::empty({}, at::kFloat);
      }
      x = nn::record(
          y, {x}, "Nothing",
          [](const std::vector<at::Tensor>& dy) -> std::vector<at::Tensor> { return {dy[0]}; });
    }
    x.backward();
  });
  return s / kNodes;
}

}  // namespace

ComputeRates measure_compute(const MeasureOptions& options) {
  const Bench bench(options);
  ComputeRates rates;
  rates.threads = at::get_num_threads();
  rates.node_s = node_seconds(bench);
  const at::NoGradGuard no_grad;
  for (const Dtype dtype : {Dtype::kFp32, Dtype::kBf16}) {
    DtypeRates& to = rates.by_dtype[static_cast<size_t>(dtype)];
    for (size_t i = 0; i < kProductNames.size(); ++i) {
      to.products[i] = bench.products(static_cast<Product>(i), dtype);
    }
    bench.row_ops(dtype, to);
    for (const bool backward : {false, true}) {
      for (const bool causal : {false, true}) {
        for (const bool dropout : {false, true}) {
          const AttentionKind kind{backward, causal, dropout};
          to.attention[index_of(kind)] = bench.attention(kind, dtype);
        }
      }
    }
    to.adamw = bench.adamw(dtype);
  }
  rates.grad_norm = bench.curve(bench.element_counts(), [](int64_t n) {
    return [gradients = std::vector<at::Tensor>{at::full({n}, 1e-3)}] {
      optim::grad_sum_of_squares(gradients);
    };
  });
  rates.zero = bench.curve(bench.element_counts(), [](int64_t n) {
    return [x = Copies(at::zeros({n}))]() mutable { at::Tensor(x.next()).zero_(); };
  });
  return rates;
}

}  // namespace trireme::plan
