// How much a unit computes, next to the others: what a model is cut into pipeline stages by.
#pragma once

#include <vector>

#include "trireme/nn/param.h"

namespace trireme::parallel {

// By unit, the elements of the matrices that each token is multiplied with, and for tables that are
// only looked up next to nothing. Attention's own products are left out: blocks have them alike. A
// weight that several units name counts in each.
std::vector<double> unit_costs(const std::vector<nn::UnitParams>& units);

}  // namespace trireme::parallel
