#include "trireme/parallel/tied_grads.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <map>
#include <unordered_map>

#include "trireme/base/error.h"

namespace trireme::parallel {

std::vector<TiedParam> find_ties(const std::vector<std::vector<nn::UnitParams>>& stages) {
  std::vector<TiedParam> held;
  std::unordered_map<const nn::Param*, size_t> place;
  for (size_t stage = 0; stage < stages.size(); ++stage) {
    for (nn::Param* param : nn::params_once(stages[stage])) {
      const auto [found, is_new] = place.emplace(param, held.size());
      if (is_new) held.push_back({param, {}});
      held[found->second].stages.push_back(stage);
    }
  }
  std::erase_if(held, [](const TiedParam& tied) { return tied.stages.size() == 1; });
  return held;
}

std::vector<TiedParam> mark_ties(const std::vector<std::vector<nn::UnitParams>>& stages,
                                 size_t stage) {
  std::vector<TiedParam> mine;
  for (TiedParam& tied : find_ties(stages)) {
    if (std::find(tied.stages.begin(), tied.stages.end(), stage) == tied.stages.end()) continue;
    nn::ParamSpec& spec = tied.param->spec;
    if (tied.stages.size() > 2) {
      throw input_error(spec.name, " is used on ", tied.stages.size(),
                        " pipeline stages; a weight may be tied over two");
    }
    if (spec.frozen) throw input_error(spec.name, " is frozen and tied over two pipeline stages");
    spec.tie = tied.stages.front() == stage ? nn::Tie::kOriginal : nn::Tie::kCopy;
    if (spec.tie == nn::Tie::kCopy) spec.sparse_grad = false;  // a head's touches every row
    mine.push_back(tied);
  }
  std::map<nn::Param*, int> uses;
  for (const nn::UnitParams& unit : stages.at(stage)) {
    for (nn::Param* param : unit.params) ++uses[param];
  }
  for (const TiedParam& tied : mine) tied.param->uses = uses[tied.param];
  return mine;
}

TiedGrads::TiedGrads(Engine& engine, comm::Group& pair) : pair_(pair) {
  if (pair.size() != 2) throw run_error("a tied weight's pair has ", pair.size(), " ranks");
  for (size_t bucket = 0; bucket < engine.flat_buffers().size(); ++bucket) {
    if (const nn::Param* param = engine.tied_param(bucket)) {
      tied_.push_back({param->spec.name, engine.flat_buffers()[bucket].grad});
    }
  }
}

void TiedGrads::sum() {
  const at::NoGradGuard no_grad;
  for (const Tied& tied : tied_) {
    pair_.all_reduce(tied.grad, comm::ReduceOp::kSum, "grads/" + tied.name)->wait();
  }
}

}  // namespace trireme::parallel
