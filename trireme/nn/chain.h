// A model as its units in the order of forward, each from one tensor to one tensor: what a pipeline
// cuts into stages.
//
//   Chain chain;
//   chain.add(embeddings); for (auto& block : blocks) chain.add(*block); chain.add(head);
//   at::Tensor y = chain(context);                      // all of it, from the graph's root
//   at::Tensor y = chain.run(begin, end, x, context);   // a stage's part
//
// It refers to the units, which outlive it. Parameters of several units (a tied weight) stand in
// each of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <string>
#include <vector>

#include "trireme/nn/context.h"
#include "trireme/nn/param.h"
#include "trireme/nn/unit.h"

namespace trireme::nn {

class Chain {
 public:
  template <class Block>
  void add(Unit<Block>& unit) {
    links_.push_back({[&unit](const at::Tensor& x, Context& context) { return unit(x, context); },
                      [&unit] { return unit.params(); }});
  }
  // The units of another chain behind those that are here.
  void add(const Chain& chain) {
    links_.insert(links_.end(), chain.links_.begin(), chain.links_.end());
  }

  size_t size() const { return links_.size(); }
  // Units [begin, end) on x: the output of unit begin - 1, or graph_root() for the first.
  at::Tensor run(size_t begin, size_t end, at::Tensor x, Context& context) const;
  at::Tensor operator()(Context& context) const;

  std::vector<UnitParams> units(size_t begin, size_t end) const;
  std::vector<UnitParams> units() const { return units(0, size()); }

 private:
  struct Link {
    std::function<at::Tensor(const at::Tensor& x, Context&)> forward;
    std::function<UnitParams()> params;
  };
  std::vector<Link> links_;
};

}  // namespace trireme::nn
