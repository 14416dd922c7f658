#include "trireme/tasks/qa_task.h"

#include <cstring>

#include "trireme/base/error.h"
#include "trireme/base/files.h"
#include "trireme/base/hash.h"
#include "trireme/comm/group.h"
#include "trireme/data/qa_batch.h"
#include "trireme/data/squad_metric.h"
#include "trireme/nn/context_parallel.h"
#include "trireme/nn/loss.h"

namespace trireme::tasks {
namespace {

// Logits as bytes, to travel between ranks: of each window that has any, its index, length, starts,
// ends.
std::string to_bytes(const std::vector<QaLogits>& logits) {
  std::string bytes;
  auto put = [&bytes](const void* data, size_t size) {
    bytes.append(static_cast<const char*>(data), size);
  };
  for (uint64_t i = 0; i < logits.size(); ++i) {
    const uint64_t length = logits[i].start.size();
    if (length == 0) continue;
    put(&i, sizeof(i));
    put(&length, sizeof(length));
    put(logits[i].start.data(), length * sizeof(float));
    put(logits[i].end.data(), length * sizeof(float));
  }
  return bytes;
}

void add_from_bytes(const std::string& bytes, std::vector<QaLogits>& logits) {
  const char* p = bytes.data();
  const char* end = p + bytes.size();
  auto get = [&p](void* data, size_t size) {
    std::memcpy(data, p, size);
    p += size;
  };
  while (p != end) {
    uint64_t index = 0, length = 0;
    get(&index, sizeof(index));
    get(&length, sizeof(length));
    QaLogits& window = logits.at(index);
    window.start.resize(length);
    window.end.resize(length);
    get(window.start.data(), length * sizeof(float));
    get(window.end.data(), length * sizeof(float));
  }
}

}  // namespace

QaTask::QaTask(QaModel& model, const QaTaskOptions& options) : model_(model), options_(options) {
  const data::SquadOptions read{.answerable_only = options.answerable_only};
  if (!options.train_file.empty()) {
    train_windows_ = model.windows(data::read_squad(options.train_file, read));
  }
  if (!options.dev_file.empty()) {
    dev_examples_ = data::read_squad(options.dev_file, read);
    dev_windows_ = model.windows(dev_examples_);
  }
}

Json QaTask::identity() const {
  Xxh3 hash;
  for (const data::QaWindow& window : train_windows_) {
    const int32_t labels[] = {window.length(), window.context_begin, window.start, window.end};
    hash.add(std::as_bytes(std::span(labels)));
    hash.add(std::as_bytes(std::span(window.ids)));
  }
  return {{"data", {{"samples", train_size()}, {"content_xxh3", hash.hex()}}},
          {"model", model_.config().to_json("BertForQuestionAnswering")}};
}

data::PackedBatch QaTask::make_batch(std::span<const SampleRef> samples, StepKey) const {
  std::vector<data::QaBatchItem> items;
  for (const SampleRef& sample : samples) {
    items.push_back(
        {&train_windows_[static_cast<size_t>(sample.index)], static_cast<int32_t>(sample.ordinal)});
  }
  return data::pack_qa(items);
}

std::vector<int64_t> QaTask::loss_counts(std::span<const SampleRef> global_batch, StepKey) const {
  return {static_cast<int64_t>(global_batch.size())};
}

void QaTask::set_inputs(const data::PackedBatch& batch, nn::Context& context,
                        std::span<const int64_t>) const {
  QaModel::set_inputs(batch, context);
}

at::Tensor qa_loss(const at::Tensor& logits_t2, const data::PackedBatch& batch,
                   const nn::Context& context, int64_t count) {
  const at::Tensor &starts = batch.labels.at(data::kQaStart), &ends = batch.labels.at(data::kQaEnd);
  if (context.cp == nullptr) return nn::span_loss(logits_t2, starts, ends, batch.seq, count);
  // A sequence's rows lie on several ranks.
  const at::Tensor loss = nn::span_loss(nn::gather_sequences(logits_t2, context.cp), starts, ends,
                                        context.cp->shard().whole_seq, count);
  return nn::counted_once(loss, context.cp);
}

std::vector<data::QaPrediction> QaTask::predict(comm::World& world, Evaluator& evaluator) {
  std::vector<QaLogits> logits =
      model_.logits(dev_windows_, options_.micro_batch_tokens, evaluator);
  const std::vector<std::string> parts =
      world.world_group().all_gather_bytes(to_bytes(logits), "eval logits");
  for (int rank = 0; rank < world.size(); ++rank) {
    if (rank != world.rank()) add_from_bytes(parts[static_cast<size_t>(rank)], logits);
  }
  return data::decode_answers(dev_examples_, dev_windows_, views(logits), options_.decode);
}

Json QaTask::evaluate(comm::World& world, Evaluator& evaluator) {
  if (dev_examples_.empty()) return Json::object();
  Json scores = data::to_json(data::score_squad(dev_examples_, predict(world, evaluator),
                                                options_.decode.no_answer_threshold));
  scores["questions"] = static_cast<int64_t>(dev_examples_.size());
  return scores;
}

void QaTask::write_assets(const std::string& folder) const {
  write_file_atomic(folder + "/config.json",
                    dump_json(model_.config().to_json("BertForQuestionAnswering"), 2) + "\n");
  for (const std::string& name : model_.folder().tokenizer_files()) {
    write_file_atomic(folder + "/" + name, read_file(model_.folder().file(name)));
  }
}

}  // namespace trireme::tasks
