// How a layer enters the autograd graph: its forward is computed by kernels, its backward is a
// function.
//
//   return record(y, {x}, "Linear", [x, &w](const std::vector<at::Tensor>& dy)
//       -> std::vector<at::Tensor> { ...; return {dx}; });
//
// The function gets one gradient per output and returns one per input (undefined: none). It runs
// once and is then dropped with what it holds. Parameters are no inputs: their gradients go to
// Param::main_grad.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <vector>

namespace trireme::nn {

using Backward = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)>;

// What `backward` gets for an output that no loss depends on. kZeros: zeros where another output is
// used; where none is, it does not run, and the layers before it see that too.
enum class UnusedOutput { kZeros, kUndefined };

// `outputs` (fresh tensors, no views of an input) as the outputs of a node over `inputs`. Without
// grad mode, or when no input requires grad, they stay as they are and `backward` is dropped.
void record(const std::vector<at::Tensor>& outputs, const std::vector<at::Tensor>& inputs,
            const char* name, Backward backward, UnusedOutput unused = UnusedOutput::kZeros);

// The same for one output, which is returned.
at::Tensor record(at::Tensor output, const std::vector<at::Tensor>& inputs, const char* name,
                  Backward backward);

// Whether record() would make a node: layers then keep what backward needs.
bool recording(const std::vector<at::Tensor>& inputs);

// A scalar leaf that requires grad: the input of a model's first node, whose true inputs are
// integers.
at::Tensor graph_root();

}  // namespace trireme::nn
