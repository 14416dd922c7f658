#include "trireme/nn/ring_attention.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/accumulate.h>

#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "trireme/nn/tape.h"

namespace trireme::nn {
namespace {

using Tensors = std::vector<at::Tensor>;

// A message to the next rank and the one from the rank before, both under way until wait().
class Pass {
 public:
  Pass(comm::Group& group, const at::Tensor& out, const at::Tensor& in, const char* tag) {
    const int size = group.size(), rank = group.rank();
    sent_ = group.send(out, (rank + 1) % size, tag);
    received_ = group.recv(in, (rank + size - 1) % size, tag);
  }
  void wait() {
    received_->wait();
    sent_->wait();
  }

 private:
  comm::WorkPtr sent_, received_;
};

// Keys and values of the sequences that are cut, on their way round the ranks. Buffers lie where
// the peers can read them.
class KeyRing {
 public:
  // k_v: this rank's, [rows, 2, heads, D].
  KeyRing(const ContextParallel& cp, const at::Tensor& k_v) : group_(cp.group()) {
    const int64_t rows = cp.shard().layout.cut_rows;
    hops_ = rows == 0 ? 0 : group_.size() - 1;
    if (hops_ == 0) return;
    std::vector<int64_t> shape = k_v.sizes().vec();
    shape[0] = rows;
    for (at::Tensor& buffer : buffers_)
      buffer = group_.empty(c10::multiply_integers(shape), k_v.scalar_type()).view(shape);
    buffers_[0].copy_(k_v.narrow(0, 0, rows));
  }

  // Visits that follow that of a rank's own keys.
  int hops() const { return hops_; }
  // After hop h (from 0), the rank whose keys are here from then on: its predecessor h + 1 times.
  int source(int hop) const { return (group_.rank() + group_.size() - 1 - hop) % group_.size(); }
  // Begins hop h, which passes on what is here; compute() may go on with that meanwhile.
  void begin(int hop) {
    pass_.emplace(group_, buffers_[hop % 2], buffers_[(hop + 1) % 2], "cp/keys");
  }
  // Ends it: what came.
  const at::Tensor& end(int hop) {
    pass_->wait();
    return buffers_[(hop + 1) % 2];
  }

 private:
  comm::Group& group_;
  int hops_ = 0;
  std::array<at::Tensor, 2> buffers_;
  std::optional<Pass> pass_;
};

// Gradients of those keys: each rank adds its own to what has come with them. After the last hop
// they are at home.
class GradientRing {
 public:
  GradientRing(const ContextParallel& cp, std::vector<int64_t> shape) : group_(cp.group()) {
    shape[0] = cp.shard().layout.cut_rows;
    for (at::Tensor& buffer : buffers_) {
      if (&buffer == &buffers_[1] && group_.size() == 2) continue;  // there is one hop
      buffer = group_.empty(c10::multiply_integers(shape), at::kFloat).view(shape);
    }
  }

  // Zeros, for what this rank adds after hop h.
  at::Tensor fresh(int hop) { return buffers_[hop % 2].zero_(); }
  // Passes on what fresh() gave, with what came before it.
  void send(int hop) {
    at::Tensor& mine = buffers_[hop % 2];
    if (hop > 0) mine.add_(take());
    pass_.emplace(group_, mine, buffers_[2], "cp/key_gradients");
  }
  // What came at last.
  const at::Tensor& take() {
    pass_->wait();
    return buffers_[2];
  }

 private:
  comm::Group& group_;
  std::array<at::Tensor, 3> buffers_;  // to add to, in turn with the one under way; what comes
  std::optional<Pass> pass_;
};

struct Views {
  at::Tensor q, k, v, k_v;  // of one tensor [rows, 3, heads, D]
};

Views views(const at::Tensor& all) {
  return {all.select(1, 0), all.select(1, 1), all.select(1, 2), all.narrow(1, 1, 2)};
}

}  // namespace

at::Tensor ring_attention(const at::Tensor& qkv, int64_t heads,
                          const kernels::AttentionOptions& options, const ContextParallelPtr& cp) {
  const int64_t T = qkv.size(0), H = qkv.size(1) / 3, D = H / heads;
  const at::Tensor all = qkv.detach().view({T, 3, heads, D});
  at::Tensor out, lse;
  {
    const at::NoGradGuard no_grad;
    const Views x = views(all);
    kernels::AttentionSums sums = kernels::attention_sums(T, heads, D);
    KeyRing ring(*cp, x.k_v);
    if (ring.hops() > 0) ring.begin(0);
    kernels::attention_add(x.q, x.k, x.v, cp->runs(cp->rank()), options, sums);
    for (int hop = 0; hop < ring.hops(); ++hop) {
      const at::Tensor& k_v = ring.end(hop);
      if (hop + 1 < ring.hops()) ring.begin(hop + 1);
      kernels::attention_add(x.q, k_v.select(1, 0), k_v.select(1, 1), cp->runs(ring.source(hop)),
                             options, sums);
    }
    out = sums.out.to(qkv.scalar_type());
    lse = sums.lse;
  }
  return record(
      out.view({T, H}).detach(), {qkv}, "RingAttention", [=](const Tensors& dy) -> Tensors {
        const Views x = views(all);
        const at::Tensor d_out = dy[0].contiguous().view({T, heads, D});
        const at::Tensor delta = kernels::attention_delta(d_out, out);
        const at::Tensor sums = at::zeros(all.sizes(), at::kFloat);
        const Views d = views(sums);
        KeyRing ring(*cp, x.k_v);
        if (ring.hops() > 0) ring.begin(0);
        kernels::attention_backward_add(d_out, delta, lse, x.q, x.k, x.v, cp->runs(cp->rank()),
                                        options, d.q, d.k, d.v);
        if (ring.hops() > 0) {
          GradientRing gradients(*cp, x.k_v.sizes().vec());
          for (int hop = 0; hop < ring.hops(); ++hop) {
            const at::Tensor& k_v = ring.end(hop);
            if (hop + 1 < ring.hops()) ring.begin(hop + 1);
            const at::Tensor d_k_v = gradients.fresh(hop);
            kernels::attention_backward_add(d_out, delta, lse, x.q, k_v.select(1, 0),
                                            k_v.select(1, 1), cp->runs(ring.source(hop)), options,
                                            d.q, d_k_v.select(1, 0), d_k_v.select(1, 1));
            gradients.send(hop);
          }
          const at::Tensor& own = gradients.take();
          d.k_v.narrow(0, 0, own.size(0)).add_(own);
        }
        return {sums.to(all.scalar_type()).view({T, 3 * H})};
      });
}

}  // namespace trireme::nn
