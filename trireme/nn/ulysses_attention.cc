#include "trireme/nn/ulysses_attention.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/accumulate.h>

#include <vector>

#include "trireme/nn/tape.h"

namespace trireme::nn {
namespace {

using Tensors = std::vector<at::Tensor>;

// Between a rank's rows of all heads, [rows, n, heads, D], and whole sequences of its share of the
// heads, [real tokens of the whole batch, n, heads / cp, D].
class Exchange {
 public:
  explicit Exchange(const ContextParallel& cp) : cp_(cp) {}

  at::Tensor to_sequences(const at::Tensor& x) const {
    const int64_t P = cp_.size(), rows = x.size(0), n = x.size(1), share = x.size(2) / P,
                  D = x.size(3);
    const at::Tensor out = buffer({P, rows, n, share, D}, x);
    out.copy_(x.view({rows, n, P, share, D}).permute({2, 0, 1, 3, 4}));
    const at::Tensor in = buffer({P * rows, n, share, D}, x);
    cp_.group().all_to_all(in, out, "cp/to_sequences")->wait();
    return in.index_select(0, cp_.shard().gathered_rows);
  }

  // Rows that belong to no sequence become zero.
  at::Tensor to_rows(const at::Tensor& x) const {
    const int64_t P = cp_.size(), rows = cp_.shard().layout.rows, n = x.size(1), share = x.size(2),
                  D = x.size(3);
    at::Tensor out = buffer({P * rows, n, share, D}, x);
    out.zero_().index_copy_(0, cp_.shard().gathered_rows, x);
    const at::Tensor in = buffer({P, rows, n, share, D}, x);
    cp_.group().all_to_all(in, out, "cp/to_rows")->wait();
    return in.permute({1, 2, 0, 3, 4}).reshape({rows, n, P * share, D});
  }

 private:
  // Where the peers can read it.
  at::Tensor buffer(const std::vector<int64_t>& shape, const at::Tensor& like) const {
    return cp_.group().empty(c10::multiply_integers(shape), like.scalar_type()).view(shape);
  }

  const ContextParallel& cp_;
};

}  // namespace

at::Tensor ulysses_attention(const at::Tensor& qkv, int64_t heads,
                             const kernels::AttentionOptions& options,
                             const ContextParallelPtr& cp) {
  check_ulysses_heads(heads, cp->size());
  const int64_t T = qkv.size(0), H = qkv.size(1) / 3, D = H / heads;
  // The draws of whole sequences and of this rank's heads among all.
  const data::CpShard& shard = cp->shard();
  kernels::AttentionOptions whole = options;
  whole.dropout.site += static_cast<uint32_t>(cp->rank() * (heads / cp->size()));
  whole.key.row_sample = shard.whole_dropout.row_sample;
  whole.key.row_position = shard.whole_dropout.row_position;

  at::Tensor all, out;
  kernels::AttentionResult result;
  {
    const at::NoGradGuard no_grad;
    const Exchange exchange(*cp);
    all = exchange.to_sequences(qkv.detach().view({T, 3, heads, D}));
    result = kernels::attention(all.select(1, 0), all.select(1, 1), all.select(1, 2),
                                shard.whole_seq, whole);
    out = exchange.to_rows(result.out.unsqueeze(1)).reshape({T, H});
  }
  return record(out.detach(), {qkv}, "UlyssesAttention", [=](const Tensors& dy) -> Tensors {
    const Exchange exchange(*cp);
    const at::Tensor d_out =
        exchange.to_sequences(dy[0].contiguous().view({T, 1, heads, D})).squeeze(1);
    const at::Tensor d_all = at::empty(all.sizes(), all.options());
    kernels::attention_backward(d_out, all.select(1, 0), all.select(1, 1), all.select(1, 2), result,
                                cp->shard().whole_seq, whole, d_all.select(1, 0),
                                d_all.select(1, 1), d_all.select(1, 2));
    return {exchange.to_rows(d_all).reshape({T, 3 * H})};
  });
}

}  // namespace trireme::nn
