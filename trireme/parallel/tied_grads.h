// A weight that units of two pipeline stages use: each stage holds it, and its gradient is the sum
// of theirs. Both then update their copies alike, so that they stay equal, to the bit.
//
//   const std::vector<std::vector<nn::UnitParams>> stages = ...;  // the whole model's, by stage
//   mark_ties(stages, my_stage);                                  // before the engine is made
//   Engine engine(stages[my_stage], ...);
//   TiedGrads tied(engine, &pair);                                // the two stages' ranks
//   ... engine.finish_step(); tied.sum(); grad_norm({&engine}); ...
#pragma once

#include <string>
#include <vector>

#include "trireme/comm/group.h"
#include "trireme/nn/param.h"
#include "trireme/parallel/engine.h"

namespace trireme::parallel {

// A Param that units of several stages name.
struct TiedParam {
  nn::Param* param;
  std::vector<size_t> stages;  // ascending; the first holds the original
};

// Pure.
std::vector<TiedParam> find_ties(const std::vector<std::vector<nn::UnitParams>>& stages);

// Prepares the Params of `stage` for an engine of that stage alone: tied ones become the original
// or the copy (ParamSpec::tie), and their `uses` are the units of this stage that name them.
// Returns the ties that the stage has part in. Throws input_error for a tie over more than two
// stages, or a frozen one.
std::vector<TiedParam> mark_ties(const std::vector<std::vector<nn::UnitParams>>& stages,
                                 size_t stage);

class TiedGrads {
 public:
  // `pair`: this rank and the one of the other stage with the same place in all other axes. Their
  // engines hold the same tied Params, in the same order, with the same slices and ZeRO stage.
  TiedGrads(Engine& engine, comm::Group& pair);

  // The gradient of each tied Param becomes the sum over the pair. After finish_step(), before
  // anybody looks at gradients. Both call it.
  void sum();

 private:
  struct Tied {
    std::string name;
    at::Tensor grad;  // what this rank holds of it, flat
  };
  comm::Group& pair_;
  std::vector<Tied> tied_;
};

}  // namespace trireme::parallel
