#include "trireme/tasks/lm_model.h"

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/models/weights.h"

namespace trireme::tasks {

models::Gpt2Config read_gpt2_config(const io::HfFolder& folder, const LmModelOptions& options) {
  models::Gpt2Config config = models::Gpt2Config::from_json(folder.config(), folder.config_path());
  if (options.attention_dropout >= 0) config.attn_pdrop = options.attention_dropout;
  if (options.hidden_dropout >= 0) {
    config.embd_pdrop = options.hidden_dropout;
    config.resid_pdrop = options.hidden_dropout;
  }
  return config;
}

LmModel::LmModel(const std::string& folder, const LmModelOptions& options)
    : folder_(folder),
      tokenizer_folder_(options.tokenizer.empty() ? folder : options.tokenizer),
      config_(read_gpt2_config(folder_, options)),
      tokenizer_(text::Tokenizer::load(tokenizer_folder_)),
      gpt2_(std::make_unique<models::Gpt2LmHeadModel>(config_, options.tied_head)) {
  if (tokenizer_.vocab_size() > config_.vocab_size) {
    throw input_error(tokenizer_folder_, ": the tokenizer has ", tokenizer_.vocab_size(),
                      " tokens, the model of ", folder, " embeds ", config_.vocab_size,
                      "; they belong to different models");
  }
}

void LmModel::load_for_inference(at::ScalarType dtype) {
  nn::allocate_values(units(), dtype);
  models::load_complete(*folder_.open_tensors(), units());
}

void LmModel::set_inputs(const data::PackedBatch& batch, nn::Context& context) {
  context.tokens = batch.tokens;
  context.positions = batch.positions;
  context.seq = &batch.seq;
}

at::Tensor LmModel::forward(const data::PackedBatch& batch, nn::Context& context) {
  set_inputs(batch, context);
  return gpt2_->forward(context);
}

void LmModel::write_assets(const std::string& folder) const {
  write_file_atomic(folder + "/config.json",
                    dump_json(config_.to_json("GPT2LMHeadModel"), 2) + "\n");
  for (const std::string& name : io::tokenizer_file_names()) {
    const std::string from = tokenizer_folder_ + "/" + name;
    if (file_exists(from)) write_file_atomic(folder + "/" + name, read_file(from));
  }
}

}  // namespace trireme::tasks
