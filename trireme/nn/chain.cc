#include "trireme/nn/chain.h"

#include "trireme/nn/tape.h"

namespace trireme::nn {

at::Tensor Chain::run(size_t begin, size_t end, at::Tensor x, Context& context) const {
  for (size_t i = begin; i < end; ++i) x = links_[i].forward(x, context);
  return x;
}

at::Tensor Chain::operator()(Context& context) const {
  return run(0, size(), graph_root(), context);
}

std::vector<UnitParams> Chain::units(size_t begin, size_t end) const {
  std::vector<UnitParams> units;
  for (size_t i = begin; i < end; ++i) units.push_back(links_[i].params());
  return units;
}

}  // namespace trireme::nn
