#include "trireme/kernels/ops.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "trireme/base/error.h"
#include "trireme/kernels/isa.h"
#include "trireme/kernels/row_dropout.h"

namespace trireme::kernels {
namespace {

constexpr int64_t kGrainElements = 16 * 1024;  // less is not worth a thread

const isa::ElementOps& element_ops(const at::Tensor& x) {
  if (x.scalar_type() == at::kFloat) return ops_table().fp32;
  if (x.scalar_type() == at::kBFloat16) return ops_table().bf16;
  throw input_error("kernels take fp32 or bf16, not ", at::toString(x.scalar_type()));
}

// x dense, of the dtype of `like` and of these sizes.
void expect(const char* what, const at::Tensor& x, at::IntArrayRef sizes, at::ScalarType dtype) {
  if (x.sizes() != sizes || x.scalar_type() != dtype || !x.is_contiguous()) {
    throw input_error(what, ": expected a dense ", at::toString(dtype), " ", sizes, ", got ",
                      at::toString(x.scalar_type()), " ", x.sizes());
  }
}

const void* data_or_null(const at::Tensor& x) {
  return x.defined() ? x.const_data_ptr() : nullptr;
}

template <class Rows>
void for_rows(int64_t rows, int64_t n, const Rows& body) {
  at::parallel_for(0, rows, std::max<int64_t>(1, kGrainElements / std::max<int64_t>(n, 1)), body);
}

// Rows in as many equal runs as there are threads, each with `sums` zeroed vectors of n floats of
// its own, which are added to the targets in the order of the runs.
template <class Rows>
void for_rows_with_sums(int64_t rows, int64_t n, std::initializer_list<at::Tensor> targets,
                        const Rows& body) {
  const int64_t runs = std::clamp<int64_t>(rows * n / kGrainElements, 1, at::get_num_threads());
  const int64_t count = static_cast<int64_t>(targets.size());
  if (runs == 1) {
    std::vector<float*> own;
    at::Tensor unwanted;
    for (const at::Tensor& target : targets) {
      if (!target.defined() && !unwanted.defined()) unwanted = at::empty({n}, at::kFloat);
      own.push_back((target.defined() ? target : unwanted).data_ptr<float>());
    }
    body(own, 0, rows);
    return;
  }
  at::Tensor partial = at::zeros({runs, count, n}, at::kFloat);
  at::parallel_for(0, runs, 1, [&](int64_t begin, int64_t end) {
    for (int64_t run = begin; run < end; ++run) {
      std::vector<float*> own;
      for (int64_t i = 0; i < count; ++i)
        own.push_back(partial.data_ptr<float>() + (run * count + i) * n);
      body(own, rows * run / runs, rows * (run + 1) / runs);
    }
  });
  int64_t i = 0;
  for (const at::Tensor& target : targets) {
    if (target.defined()) {
      for (int64_t run = 0; run < runs; ++run)
        at::Tensor(target).add_(partial.select(0, run).select(0, i));
    }
    ++i;
  }
}

void check_index(const at::Tensor& index, int64_t rows, const char* what) {
  const int64_t* p = index.const_data_ptr<int64_t>();
  for (int64_t t = 0; t < index.numel(); ++t) {
    if (p[t] < 0 || p[t] >= rows)
      throw input_error(what, " ", p[t], " is outside the table of ", rows, " rows");
  }
}

}  // namespace

at::Tensor bias_gelu(Gelu form, const at::Tensor& h, const at::Tensor& bias) {
  const int64_t T = h.size(0), n = h.size(1);
  expect("bias_gelu input", h, {T, n}, h.scalar_type());
  expect("bias_gelu bias", bias, {n}, h.scalar_type());
  at::Tensor y = at::empty_like(h);
  const isa::ElementOps& ops = element_ops(h);
  for_rows(T, n, [&](int64_t begin, int64_t end) {
    ops.bias_gelu(form == Gelu::kTanh, h.const_data_ptr(), bias.const_data_ptr(), y.data_ptr(), n,
                  begin, end);
  });
  return y;
}

at::Tensor bias_gelu_backward(Gelu form, const at::Tensor& dy, const at::Tensor& h,
                              const at::Tensor& bias, at::Tensor bias_grad) {
  const int64_t T = h.size(0), n = h.size(1);
  expect("bias_gelu gradient", dy, {T, n}, h.scalar_type());
  at::Tensor dh = at::empty_like(h);
  const isa::ElementOps& ops = element_ops(h);
  for_rows_with_sums(
      T, n, {bias_grad}, [&](const std::vector<float*>& sums, int64_t begin, int64_t end) {
        ops.bias_gelu_backward(form == Gelu::kTanh, dy.const_data_ptr(), h.const_data_ptr(),
                               bias.const_data_ptr(), dh.data_ptr(), sums[0], n, begin, end);
      });
  return dh;
}

NormResult dropout_add_norm(const NormInput& input) {
  const at::Tensor& y = input.y_tn;
  const int64_t T = y.size(0), n = y.size(1);
  expect("norm input", y, {T, n}, y.scalar_type());
  expect("norm weight", input.gamma_n, {n}, y.scalar_type());
  expect("norm bias", input.beta_n, {n}, y.scalar_type());
  if (input.residual_tn.defined())
    expect("norm residual", input.residual_tn, {T, n}, y.scalar_type());
  if (input.bias_n.defined()) expect("linear bias", input.bias_n, {n}, y.scalar_type());
  const isa::RowDropout drop = row_dropout(input.dropout, input.key);
  const at::TensorOptions fp32 = y.options().dtype(at::kFloat);
  const bool adds = input.bias_n.defined() || input.residual_tn.defined() || drop.threshold != 0;
  NormResult result{at::empty_like(y), adds ? at::empty_like(y) : y, at::empty({T}, fp32),
                    at::empty({T}, fp32)};
  const isa::ElementOps& ops = element_ops(y);
  for_rows(T, n, [&](int64_t begin, int64_t end) {
    ops.dropout_add_norm(y.const_data_ptr(), data_or_null(input.bias_n),
                         data_or_null(input.residual_tn), input.gamma_n.const_data_ptr(),
                         input.beta_n.const_data_ptr(), static_cast<float>(input.epsilon), drop,
                         adds ? result.sum_tn.data_ptr() : nullptr, result.out_tn.data_ptr(),
                         result.mean_t.data_ptr<float>(), result.rstd_t.data_ptr<float>(), n, begin,
                         end);
  });
  return result;
}

NormGrads dropout_add_norm_backward(const at::Tensor& dz, const at::Tensor& d_sum,
                                    const NormInput& input, const NormResult& forward,
                                    at::Tensor bias_grad, at::Tensor gamma_grad,
                                    at::Tensor beta_grad) {
  const at::Tensor& s = forward.sum_tn;
  const int64_t T = s.size(0), n = s.size(1);
  expect("norm gradient", dz, {T, n}, s.scalar_type());
  if (d_sum.defined()) expect("sum's gradient", d_sum, {T, n}, s.scalar_type());
  const isa::RowDropout drop = row_dropout(input.dropout, input.key);
  NormGrads grads;
  grads.d_residual_tn = at::empty_like(s);
  grads.dy_tn = drop.threshold ? at::empty_like(s) : grads.d_residual_tn;
  const isa::ElementOps& ops = element_ops(s);
  const bool with_bias = bias_grad.defined();
  for_rows_with_sums(T, n, {bias_grad, gamma_grad, beta_grad},
                     [&](const std::vector<float*>& sums, int64_t begin, int64_t end) {
                       ops.dropout_add_norm_backward(
                           dz.const_data_ptr(), data_or_null(d_sum), s.const_data_ptr(),
                           input.gamma_n.const_data_ptr(), forward.mean_t.const_data_ptr<float>(),
                           forward.rstd_t.const_data_ptr<float>(), drop,
                           grads.d_residual_tn.data_ptr(), grads.dy_tn.data_ptr(),
                           with_bias ? sums[0] : nullptr, sums[1], sums[2], n, begin, end);
                     });
  return grads;
}

at::Tensor dropout_add(const at::Tensor& y, const at::Tensor& bias, const at::Tensor& residual,
                       const Dropout& dropout, const DropoutKey& key) {
  const int64_t T = y.size(0), n = y.size(1);
  expect("dropout_add input", y, {T, n}, y.scalar_type());
  expect("dropout_add bias", bias, {n}, y.scalar_type());
  expect("dropout_add residual", residual, {T, n}, y.scalar_type());
  const isa::RowDropout drop = row_dropout(dropout, key);
  at::Tensor s = at::empty_like(y);
  const isa::ElementOps& ops = element_ops(y);
  for_rows(T, n, [&](int64_t begin, int64_t end) {
    ops.dropout_add(y.const_data_ptr(), bias.const_data_ptr(), residual.const_data_ptr(), drop,
                    s.data_ptr(), n, begin, end);
  });
  return s;
}

at::Tensor dropout(const at::Tensor& x, const Dropout& dropout, const DropoutKey& key) {
  const isa::RowDropout drop = row_dropout(dropout, key);
  if (drop.threshold == 0) return x;
  expect("dropout input", x, x.sizes(), x.scalar_type());
  const int64_t n = x.size(1);
  at::Tensor y = at::empty_like(x);
  const isa::ElementOps& ops = element_ops(x);
  for_rows(x.size(0), n, [&](int64_t begin, int64_t end) {
    ops.dropout(x.const_data_ptr(), drop, y.data_ptr(), n, begin, end);
  });
  return y;
}

void add_column_sums(const at::Tensor& x, at::Tensor sums) {
  if (!sums.defined()) return;
  const int64_t n = x.size(1);
  expect("column sums of", x, x.sizes(), x.scalar_type());
  expect("column sums", sums, {n}, at::kFloat);
  const isa::ElementOps& ops = element_ops(x);
  for_rows_with_sums(x.size(0), n, {sums},
                     [&](const std::vector<float*>& own, int64_t begin, int64_t end) {
                       ops.column_sums(x.const_data_ptr(), own[0], n, begin, end);
                     });
}

at::Tensor embedding_sum(const at::Tensor& a, const at::Tensor& ia, const at::Tensor& b,
                         const at::Tensor& ib, const at::Tensor& c, const at::Tensor& ic) {
  const int64_t T = ia.numel(), n = a.size(1);
  check_index(ia, a.size(0), "token id");
  check_index(ib, b.size(0), "position");
  if (c.defined()) check_index(ic, c.size(0), "token type");
  at::Tensor y = at::empty({T, n}, a.options());
  const isa::ElementOps& ops = element_ops(a);
  for_rows(T, n, [&](int64_t begin, int64_t end) {
    ops.embedding_sum(a.const_data_ptr(), ia.const_data_ptr<int64_t>(), b.const_data_ptr(),
                      ib.const_data_ptr<int64_t>(), data_or_null(c),
                      c.defined() ? ic.const_data_ptr<int64_t>() : nullptr, y.data_ptr(), n, begin,
                      end);
  });
  return y;
}

void scatter_add_rows(const at::Tensor& x, const at::Tensor& index, at::Tensor table) {
  if (!table.defined()) return;
  expect("scattered rows", x, {index.numel(), table.size(1)}, x.scalar_type());
  expect("table", table, table.sizes(), at::kFloat);
  element_ops(x).scatter_add(x.const_data_ptr(), index.const_data_ptr<int64_t>(),
                             table.data_ptr<float>(), table.size(1), 0, index.numel());
}

double cross_entropy_inplace(at::Tensor logits, const at::Tensor& labels, double grad_scale) {
  const int64_t T = logits.size(0), n = logits.size(1);
  expect("logits", logits, {T, n}, logits.scalar_type());
  expect("labels", labels, {T}, at::kLong);
  const int64_t* label = labels.const_data_ptr<int64_t>();
  for (int64_t t = 0; t < T; ++t) {
    if (label[t] < -1 || label[t] >= n)
      throw input_error("label ", label[t], " is outside the ", n, " classes");
  }
  const isa::ElementOps& ops = element_ops(logits);
  // A fixed number of runs, so that the sum has one order.
  const int64_t runs = std::clamp<int64_t>(T * n / kGrainElements, 1, at::get_num_threads());
  std::vector<double> sums(static_cast<size_t>(runs), 0.0);
  at::parallel_for(0, runs, 1, [&](int64_t begin, int64_t end) {
    for (int64_t run = begin; run < end; ++run) {
      ops.cross_entropy(logits.data_ptr(), label, static_cast<float>(grad_scale), &sums[run], n,
                        T * run / runs, T * (run + 1) / runs);
    }
  });
  double total = 0.0;
  for (double sum : sums) total += sum;
  return total;
}

at::Tensor cross_entropy_part_sums(const at::Tensor& logits, const at::Tensor& labels,
                                   int64_t first) {
  const int64_t T = logits.size(0), n = logits.size(1);
  expect("logits", logits, {T, n}, logits.scalar_type());
  expect("labels", labels, {T}, at::kLong);
  at::Tensor sums = at::empty({T, 3}, at::kFloat);
  const isa::ElementOps& ops = element_ops(logits);
  for_rows(T, n, [&](int64_t begin, int64_t end) {
    ops.cross_entropy_part_sums(logits.const_data_ptr(), labels.const_data_ptr<int64_t>(), first,
                                sums.data_ptr<float>(), n, begin, end);
  });
  return sums;
}

void cross_entropy_part_gradient(at::Tensor logits, const at::Tensor& labels, int64_t first,
                                 const at::Tensor& sums, double grad_scale) {
  const int64_t T = logits.size(0), n = logits.size(1);
  expect("logits", logits, {T, n}, logits.scalar_type());
  expect("labels", labels, {T}, at::kLong);
  expect("sums", sums, {T, 3}, at::kFloat);
  const isa::ElementOps& ops = element_ops(logits);
  for_rows(T, n, [&](int64_t begin, int64_t end) {
    ops.cross_entropy_part_gradient(logits.data_ptr(), labels.const_data_ptr<int64_t>(), first,
                                    sums.const_data_ptr<float>(), static_cast<float>(grad_scale), n,
                                    begin, end);
  });
}

}  // namespace trireme::kernels
