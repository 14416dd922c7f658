// How evaluation goes through a model in a run's layout: which share of the work a rank has, and
// how a batch gets through the model. By itself: every rank holds the whole model and runs its own
// share.
#pragma once

#include <ATen/core/Tensor.h>

#include "trireme/comm/world.h"
#include "trireme/nn/chain.h"

namespace trireme::tasks {

class Evaluator {
 public:
  // One share, all of it here.
  Evaluator() = default;
  // A share for each rank.
  explicit Evaluator(const comm::World& world) : share_(world.rank()), shares_(world.size()) {}
  virtual ~Evaluator() = default;

  // The work is dealt in `shares()` parts. Ranks that hold one model together have the same part
  // and run the same batches in the same order.
  int share() const { return share_; }
  int shares() const { return shares_; }

  // The chain's output on the context's inputs, without gradients: on one rank of a share, and
  // undefined on the others.
  virtual at::Tensor run(const nn::Chain& chain, nn::Context& context) { return chain(context); }

 protected:
  Evaluator(int share, int shares) : share_(share), shares_(shares) {}

 private:
  int share_ = 0, shares_ = 1;
};

}  // namespace trireme::tasks
