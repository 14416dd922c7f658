// Weights of any torch::nn::Module in safetensors files, parameters and buffers, under torch's
// names (named_parameters, named_buffers). A tensor with several names is saved once, under the
// first.
//
//   models::save_module(*model, "model.safetensors");   // on one rank
//   models::load_module(*model, "model.safetensors");
//
// PyTorch reads the file with safetensors.torch.load_file().
#pragma once

#include <string>

namespace torch::nn {
class Module;
}

namespace trireme::models {

// Writes every tensor in the dtype that it has. The file is there wholly or not at all. Throws
// run_error: a dtype that the format lacks, a file that cannot be written.
void save_module(const torch::nn::Module& module, const std::string& path);

// Copies the file's values into the module's tensors, converted to their dtypes. Throws input_error
// naming a tensor that is missing, has another shape, or that the module does not have.
void load_module(torch::nn::Module& module, const std::string& path);

}  // namespace trireme::models
