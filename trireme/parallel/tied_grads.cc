#include "trireme/parallel/tied_grads.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "trireme/base/error.h"

namespace trireme::parallel {

TiedGrads::TiedGrads(const std::vector<Engine*>& engines, comm::Group* pair) : pair_(pair) {
  for (const Engine* engine : engines) {
    for (size_t bucket = 0; bucket < engine->flat_buffers().size(); ++bucket) {
      const nn::Param* param = engine->tied_param(bucket);
      if (param == nullptr) continue;
      const std::string& name = param->spec.name;
      auto tied = std::find_if(tied_.begin(), tied_.end(),
                               [&](const Tied& known) { return known.name == name; });
      if (tied == tied_.end()) tied = tied_.insert(tied, {name, {}, {}});
      (param->spec.tie == nn::Tie::kOriginal ? tied->original : tied->copy) =
          engine->flat_buffers()[bucket].grad;
    }
  }
  for (const Tied& tied : tied_) {
    const bool both = tied.original.defined() && tied.copy.defined();
    if (both == (pair == nullptr) && (both || pair->size() == 2)) continue;
    throw run_error(tied.name, " is tied over two pipeline stages, of which this rank holds ",
                    both ? "both" : "one");
  }
}

void TiedGrads::sum() {
  const at::NoGradGuard no_grad;
  for (const Tied& tied : tied_) {
    if (pair_ == nullptr) {
      at::Tensor(tied.original).add_(tied.copy);
      at::Tensor(tied.copy).copy_(tied.original);
      continue;
    }
    const at::Tensor& mine = tied.original.defined() ? tied.original : tied.copy;
    pair_->all_reduce(mine, comm::ReduceOp::kSum, "grads/" + tied.name)->wait();
  }
}

}  // namespace trireme::parallel
