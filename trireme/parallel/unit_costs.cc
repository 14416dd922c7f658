#include "trireme/parallel/unit_costs.h"

namespace trireme::parallel {

std::vector<double> unit_costs(const std::vector<nn::UnitParams>& units) {
  std::vector<double> costs;
  for (const nn::UnitParams& unit : units) {
    double cost = 1;  // a unit without matrices is a unit nonetheless
    for (const nn::Param* param : unit.params) {
      // A unit whose backward reads no values multiplies with none: an embedding.
      const bool looked_up = param->spec.sparse_grad || !unit.backward_reads_values;
      if (param->spec.shape.size() == 2 && !looked_up)
        cost += static_cast<double>(param->spec.numel());
    }
    costs.push_back(cost);
  }
  return costs;
}

}  // namespace trireme::parallel
