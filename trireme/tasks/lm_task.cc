#include "trireme/tasks/lm_task.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

#include "trireme/base/error.h"
#include "trireme/base/hash.h"
#include "trireme/comm/group.h"
#include "trireme/data/blend.h"
#include "trireme/data/lm_batch.h"
#include "trireme/data/plan_step.h"

namespace trireme::tasks {
namespace {

std::vector<std::string> prefixes_of(const std::vector<data::BlendPart>& parts) {
  std::vector<std::string> prefixes;
  for (const data::BlendPart& part : parts) prefixes.push_back(part.prefix);
  return prefixes;
}

}  // namespace

LmTask::LmTask(LmModel& model, const LmTaskOptions& options) : model_(model), options_(options) {
  const int64_t positions = model.config().n_positions;
  if (options_.window_tokens == 0) options_.window_tokens = positions;
  if (options_.window_tokens > positions) {
    throw input_error("windows of ", options_.window_tokens,
                      " tokens (data.max_length) are longer than the ", positions, " positions of ",
                      model.folder().path());
  }
  if (options_.window_tokens > options_.micro_batch_tokens) {
    throw input_error("windows of ", options_.window_tokens,
                      " tokens (data.max_length) do not fit into data.micro_batch_tokens = ",
                      options_.micro_batch_tokens);
  }
  if (!options_.dev.empty() && options_.dev_share > 0)
    throw input_error("data.split is set besides data.dev; set one");
  if (!options_.evaluation_only) open_training();
  open_evaluation();
}

void LmTask::open_training() {
  const std::vector<data::BlendPart> parts = data::parse_blend(options_.train, "data.train");
  const data::CorpusSplit split{
      options_.dev_share, options_.seed,
      options_.dev_share > 0 ? data::CorpusPart::kTrain : data::CorpusPart::kAll};
  std::vector<data::WeightedCorpus> weighted;
  const auto add = [&](const std::vector<std::string>& prefixes, double weight) {
    corpora_.push_back(
        std::make_unique<data::TokenCorpus>(prefixes, split, model_.config().vocab_size));
    weighted.push_back({corpora_.back().get(), weight});
  };
  if (parts.front().weight == 0) {
    add(prefixes_of(parts), 1);
  } else {
    for (const data::BlendPart& part : parts) add({part.prefix}, part.weight);
  }
  windows_ = std::make_unique<data::LmWindows>(
      std::move(weighted),
      data::LmWindowOptions{.window_tokens = options_.window_tokens, .seed = options_.seed});
}

void LmTask::open_evaluation() {
  const int64_t vocab_size = model_.config().vocab_size;
  if (!options_.dev.empty()) {
    const std::vector<data::BlendPart> parts = data::parse_blend(options_.dev, "data.dev");
    if (parts.front().weight > 0)
      throw input_error("data.dev: corpora to evaluate on have no weights");
    dev_ = std::make_unique<data::TokenCorpus>(prefixes_of(parts), data::CorpusSplit{}, vocab_size);
  } else if (options_.dev_share > 0) {
    dev_ = std::make_unique<data::TokenCorpus>(
        prefixes_of(data::parse_blend(options_.train, "data.train")),
        data::CorpusSplit{options_.dev_share, options_.seed, data::CorpusPart::kDev}, vocab_size);
  }
}

Json LmTask::identity() const {
  Json corpora = Json::array();
  for (const auto& corpus : corpora_) {
    Xxh3 hash;
    corpus->add_to(hash);
    corpora.push_back({{"documents", corpus->documents()},
                       {"tokens", corpus->tokens()},
                       {"content_xxh3", hash.hex()}});
  }
  Json shares = windows_ ? Json(windows_->shares()) : Json::array();
  return {{"data",
           {{"samples", train_size()},
            {"window_tokens", options_.window_tokens},
            {"corpora", std::move(corpora)},
            {"shares", shares}}},
          {"model", model_.config().to_json("GPT2LMHeadModel")}};
}

data::PackedBatch LmTask::make_batch(std::span<const SampleRef> samples, StepKey key) const {
  std::vector<data::LmBatchItem> items;
  for (const SampleRef& sample : samples) {
    items.push_back(
        {windows_->pieces(key.epoch, sample.index), static_cast<int32_t>(sample.ordinal)});
  }
  return data::pack_lm(items);
}

std::vector<int64_t> LmTask::loss_counts(std::span<const SampleRef> global_batch,
                                         StepKey key) const {
  int64_t count = 0;
  for (const SampleRef& sample : global_batch)
    count += data::predicted_tokens(windows_->pieces(key.epoch, sample.index));
  return {std::max<int64_t>(count, 1)};  // documents of one token predict nothing
}

void LmTask::set_inputs(const data::PackedBatch& batch, nn::Context& context,
                        std::span<const int64_t> counts) const {
  LmModel::set_inputs(batch, context);
  context.labels = batch.labels.at(data::kLmNext);
  context.label_count = counts[0];
}

Json LmTask::evaluate(comm::World& world, Evaluator& evaluator) {
  if (!dev_) return Json::object();
  at::NoGradGuard no_grad;
  const data::CorpusStream stream(*dev_);
  const int64_t n = options_.window_tokens, tokens = dev_->tokens();
  std::vector<int32_t> lengths;
  for (int64_t begin = 0; begin < tokens; begin += n)
    lengths.push_back(static_cast<int32_t>(std::min(n, tokens - begin)));
  const data::StepPlan plan = data::plan_step(
      lengths, {.dp = evaluator.shares(), .micro_batch_tokens = options_.micro_batch_tokens});
  double loss_sum = 0;
  int64_t predicted = 0;
  for (const data::MicroBatch& micro : plan.ranks[static_cast<size_t>(evaluator.share())]) {
    std::vector<data::LmBatchItem> items;
    int64_t count = 0;
    for (const int32_t window : micro.samples) {
      items.push_back({{}, window});
      stream.append(window * n, window * n + lengths[static_cast<size_t>(window)],
                    items.back().pieces);
      count += data::predicted_tokens(items.back().pieces);
    }
    if (count == 0) continue;
    nn::Context context;
    const std::vector<int64_t> counts = {count};
    const data::PackedBatch batch = data::pack_lm(items, micro.rows);
    set_inputs(batch, context, counts);
    const at::Tensor mean = evaluator.run(chain(), context);
    if (!mean.defined()) continue;
    loss_sum += mean.item<double>() * static_cast<double>(count);
    predicted += count;
  }
  const at::Tensor sums = at::tensor({loss_sum, static_cast<double>(predicted)}, at::kDouble);
  world.world_group().all_reduce(sums, comm::ReduceOp::kSum, "evaluation loss")->wait();
  const double total = sums[1].item<double>();
  if (total == 0) throw input_error(dev_->name(), ": no document has a second token to predict");
  const double mean = sums[0].item<double>() / total;
  return {{"loss", mean},
          {"perplexity", std::exp(mean)},
          {"tokens", static_cast<int64_t>(total)},
          {"documents", dev_->documents()}};
}

}  // namespace trireme::tasks
