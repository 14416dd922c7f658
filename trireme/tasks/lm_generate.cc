#include "trireme/tasks/lm_generate.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "trireme/base/error.h"
#include "trireme/base/random.h"
#include "trireme/nn/kv_cache.h"

namespace trireme::tasks {
namespace {

// A sequence that grows: what the model makes of it, without running what it has run.
class Sequence {
 public:
  explicit Sequence(LmModel& model) : model_(model), cache_(model.config().n_positions) {}

  int64_t tokens() const { return cache_.tokens(); }
  void truncate(int64_t tokens) { cache_.truncate(tokens); }

  // Appends tokens; the logits of the one behind them, fp32 [V].
  std::vector<float> append(std::span<const int32_t> ids) {
    const auto n = static_cast<int64_t>(ids.size());
    data::PackedBatch batch;
    batch.tokens = at::tensor(at::ArrayRef<int32_t>(ids.data(), ids.size()), at::kLong);
    batch.positions = at::arange(tokens(), tokens() + n, at::kLong);
    batch.seq =
        kernels::SeqInfo::continued(static_cast<int32_t>(tokens()), static_cast<int32_t>(n));
    nn::Context context;
    context.cache = &cache_;
    context.logit_rows = at::tensor({n - 1}, at::kLong);
    cache_.begin(n);
    const at::Tensor logits = model_.forward(batch, context).to(at::kFloat).contiguous();
    cache_.end();
    return {logits.const_data_ptr<float>(), logits.const_data_ptr<float>() + logits.numel()};
  }

 private:
  LmModel& model_;
  nn::KvCache cache_;
};

struct Candidate {
  float logit;
  int32_t id;
};

// The likeliest first; of equal ones the lowest id.
bool before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

int32_t likeliest(std::span<const float> logits) {
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

int32_t choose_token(std::span<const float> logits, const SamplingOptions& options, uint64_t draw) {
  if (!options.do_sample) return likeliest(logits);
  std::vector<Candidate> candidates;
  for (size_t i = 0; i < logits.size(); ++i)
    candidates.push_back({logits[i], static_cast<int32_t>(i)});
  if (options.top_k > 0 && options.top_k < static_cast<int64_t>(candidates.size())) {
    std::partial_sort(candidates.begin(), candidates.begin() + options.top_k, candidates.end(),
                      before);
    candidates.resize(static_cast<size_t>(options.top_k));
  } else {
    std::sort(candidates.begin(), candidates.end(), before);
  }
  std::vector<double> weights;
  double total = 0;
  for (const Candidate& candidate : candidates) {
    weights.push_back(std::exp((candidate.logit - candidates.front().logit) / options.temperature));
    total += weights.back();
  }
  size_t kept = 0;
  double mass = 0;
  while (kept < weights.size() && (kept == 0 || mass < options.top_p * total))
    mass += weights[kept++];
  static const uint64_t stream = hash_name("generate");
  double left = uniform(options.seed, stream, draw) * mass;
  size_t chosen = 0;
  while (chosen + 1 < kept && (left -= weights[chosen]) >= 0) ++chosen;
  return candidates[chosen].id;
}

std::vector<GeneratedSample> generate(LmModel& model, std::span<const int32_t> prompt,
                                      const GenerateOptions& options) {
  const models::Gpt2Config& config = model.config();
  if (prompt.empty()) throw input_error("a prompt of no tokens: there is nothing to continue");
  if (static_cast<int64_t>(prompt.size()) >= config.n_positions) {
    throw input_error("a prompt of ", prompt.size(), " tokens leaves no room for more: the model ",
                      model.folder().path(), " has ", config.n_positions,
                      " positions (n_positions); shorten the prompt");
  }
  const at::NoGradGuard no_grad;
  Sequence sequence(model);
  const std::vector<float> first = sequence.append(prompt);
  std::vector<GeneratedSample> samples;
  for (int64_t number = 0; number < options.num_samples; ++number) {
    GeneratedSample& sample = samples.emplace_back();
    sequence.truncate(static_cast<int64_t>(prompt.size()));
    std::vector<float> logits = first;
    while (static_cast<int64_t>(sample.tokens.size()) < options.max_new_tokens) {
      const uint64_t draw = (static_cast<uint64_t>(number) << 32) + sample.tokens.size();
      sample.tokens.push_back(choose_token(logits, options.sampling, draw));
      if (options.on_token) options.on_token(number, sample.tokens);
      if (sample.tokens.back() == config.eos_token_id) {
        sample.stop = StopReason::kEndOfText;
        break;
      }
      if (sequence.tokens() == config.n_positions) {
        sample.stop = StopReason::kPositions;
        break;
      }
      if (static_cast<int64_t>(sample.tokens.size()) < options.max_new_tokens)
        logits = sequence.append({&sample.tokens.back(), 1});
    }
  }
  return samples;
}

}  // namespace trireme::tasks
