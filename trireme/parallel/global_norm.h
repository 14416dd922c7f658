// What is asked of all gradients, or masters, of a model at once, wherever they lie: each element
// of each tensor counts once over all ranks, and every rank gets the same answer, to the bit.
//
//   const double norm = grad_norm(engines);     // of this rank's engines: one a pipeline chunk
//
// Every rank calls them, after finish_step() of all its engines (and after TiedGrads::sum()). The
// engines of a rank share their groups.
#pragma once

#include <string>
#include <vector>

#include "trireme/parallel/engine.h"

namespace trireme::parallel {

// The 2-norm of all gradients.
double grad_norm(const std::vector<Engine*>& engines);

// Names of tensors whose gradient, or master, has a NaN or an infinity, `most` at most: to say why
// a step failed.
std::vector<std::string> non_finite_gradients(const std::vector<Engine*>& engines, size_t most);
std::vector<std::string> non_finite_masters(const std::vector<Engine*>& engines, size_t most);

}  // namespace trireme::parallel
