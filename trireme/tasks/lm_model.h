// A GPT-2 with what belongs to it: configuration and tokenizer. Training, evaluation and generation
// all go through it.
//
//   LmModel model(folder, {});
//   model.load_for_inference(at::kFloat);
//   at::Tensor logits_tv = model.forward(batch, context);
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "trireme/data/packed_batch.h"
#include "trireme/io/hf_folder.h"
#include "trireme/models/gpt2.h"
#include "trireme/text/tokenizer.h"

namespace trireme::tasks {

struct LmModelOptions {
  double attention_dropout = -1;  // -1: as config.json says
  double hidden_dropout = -1;     // of embeddings and sub-layer outputs
  std::string tokenizer = {};     // its folder; empty: the model's
  models::TiedHead tied_head = models::TiedHead::kShares;
};

// The folder's config.json, with the options' dropouts.
models::Gpt2Config read_gpt2_config(const io::HfFolder& folder, const LmModelOptions& options);

class LmModel {
 public:
  // Reads config.json and the tokenizer; weights come later, into whatever storage the Params are
  // given. Throws input_error: no such folder, a model that is no GPT-2, a tokenizer whose
  // vocabulary the model does not have.
  LmModel(const std::string& folder, const LmModelOptions& options);

  // Storage for the Params in `dtype`, and the folder's weights, all of them.
  void load_for_inference(at::ScalarType dtype);

  const io::HfFolder& folder() const { return folder_; }
  const models::Gpt2Config& config() const { return config_; }
  const text::Tokenizer& tokenizer() const { return tokenizer_; }
  const nn::Chain& chain() const { return gpt2_->chain(); }
  std::vector<nn::UnitParams> units() const { return gpt2_->units(); }

  // Logits [T, vocab_size]; or the loss, where the context has labels.
  at::Tensor forward(const data::PackedBatch& batch, nn::Context& context);
  // What the chain reads of the batch besides labels, into the context.
  static void set_inputs(const data::PackedBatch& batch, nn::Context& context);

  // config.json and the tokenizer's files, into an existing folder.
  void write_assets(const std::string& folder) const;

 private:
  io::HfFolder folder_;
  std::string tokenizer_folder_;
  models::Gpt2Config config_;
  text::Tokenizer tokenizer_;
  std::unique_ptr<models::Gpt2LmHeadModel> gpt2_;
};

}  // namespace trireme::tasks
