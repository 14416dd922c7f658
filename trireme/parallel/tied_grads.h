// A weight that units of two pipeline stages use (nn::Tie): each holds it as a Param of its own,
// and its gradient is the sum of theirs. Both then update their copies alike, so that they stay
// equal, to the bit.
//
//   TiedGrads tied(engines, &ends);                   // this rank's engines
//   ... engine.finish_step(); tied.sum(); grad_norm(engines); ...
#pragma once

#include <string>
#include <vector>

#include "trireme/comm/group.h"
#include "trireme/parallel/engine.h"

namespace trireme::parallel {

class TiedGrads {
 public:
  // `pair`: this rank and the one of the other stage with the same place in all other axes. Their
  // engines hold the same tied Params, in the same order, with the same slices and ZeRO stage. Null
  // where these engines hold both Params of every tie, and where they hold none.
  TiedGrads(const std::vector<Engine*>& engines, comm::Group* pair);

  // The gradient of each tied Param becomes the sum over the two. After finish_step(), before
  // anybody looks at gradients. Both ranks call it.
  void sum();

 private:
  struct Tied {
    std::string name;
    at::Tensor original, copy;  // what this rank holds of the gradients, flat; undefined: not here
  };
  comm::Group* pair_;
  std::vector<Tied> tied_;
};

}  // namespace trireme::parallel
