// A GPT-2 of the golden fixtures with a tokenizer: what the tests of language modelling use.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "tests/base/test_util.h"
#include "trireme/base/files.h"
#include "trireme/base/json.h"
#include "trireme/tasks/lm_model.h"

namespace trireme::testing {

// tests/golden/gpt2/NAME with another end-of-text token (-1: none comes), and a tokenizer of a few
// tokens, in a folder of its own.
class TinyLm {
 public:
  explicit TinyLm(const std::string& name = "tied", int64_t eos_token_id = -1) {
    const std::string golden = std::string(TRIREME_SOURCE_DIR) + "/tests/golden/gpt2/" + name;
    std::filesystem::copy_file(golden + "/model.safetensors", folder_ / "model.safetensors");
    Json config = read_json_file(golden + "/config.json");
    config["eos_token_id"] = eos_token_id;
    write_file_atomic(folder_ / "config.json", dump_json(config));
    write_file_atomic(folder_ / "vocab.json", "{\"a\": 0, \"b\": 1, \"<|endoftext|>\": 2}");
    write_file_atomic(folder_ / "merges.txt", "#version: 0.2\n");
    model_ = std::make_unique<tasks::LmModel>(folder_.path(), tasks::LmModelOptions{});
    model_->load_for_inference(at::kFloat);
  }
  tasks::LmModel& model() { return *model_; }
  const std::string& folder() const { return folder_.path(); }

 private:
  test::TempDir folder_;
  std::unique_ptr<tasks::LmModel> model_;
};

}  // namespace trireme::testing
