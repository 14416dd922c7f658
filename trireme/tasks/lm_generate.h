// Text from a language model, a token at a time; names and rules are those of Hugging Face's
// generate().
//
//   LmModel model(folder, {});
//   model.load_for_inference(at::kFloat);
//   const auto samples = generate(model, prompt_ids, {.max_new_tokens = 50});
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "trireme/tasks/lm_model.h"

namespace trireme::tasks {

struct SamplingOptions {
  bool do_sample = false;    // false: the likeliest token each time (the lowest id of equal ones)
  double temperature = 1.0;  // above 0
  int64_t top_k = 50;        // of the likeliest tokens; 0: of all
  double top_p = 1.0;        // and of those as few as have this share of the probability
  uint64_t seed = 0;
};

// The next token by logits [V]. `draw` numbers the random draw: (seed, draw) alone decide it.
int32_t choose_token(std::span<const float> logits_v, const SamplingOptions& options,
                     uint64_t draw);

struct GenerateOptions {
  int64_t max_new_tokens = 50;
  int64_t num_samples = 1;
  SamplingOptions sampling = {};
  // Hears of each token as it comes: of which sample, and all of that sample's tokens so far.
  std::function<void(int64_t sample, std::span<const int32_t> tokens)> on_token = {};
};

enum class StopReason { kEndOfText, kMaxNewTokens, kPositions };

struct GeneratedSample {
  std::vector<int32_t> tokens;  // new ones, the end-of-text token included
  StopReason stop = StopReason::kMaxNewTokens;
};

// Continues the prompt (at least one token). The prompt is run once for all samples; each further
// token costs one row through the model. A text ends with config's eos_token_id, after
// max_new_tokens, or when the model has no more positions. Throws input_error for a prompt that
// fills them all, or tokens outside the vocabulary.
std::vector<GeneratedSample> generate(LmModel& model, std::span<const int32_t> prompt,
                                      const GenerateOptions& options);

}  // namespace trireme::tasks
