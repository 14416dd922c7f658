#include "trireme/train/step_source.h"

#include "trireme/data/plan_step.h"

namespace trireme::train {
namespace {

constexpr size_t kAhead = 2;  // steps made before they are asked for

}  // namespace

StepSource::StepSource(const tasks::Task& task, const std::vector<int32_t>& lengths,
                       const StepSourceOptions& options, int64_t first_step,
                       data::DataCursor cursor, int64_t end_step)
    : task_(task),
      lengths_(lengths),
      options_(options),
      thread_([this, first_step, cursor, end_step] { produce(first_step, cursor, end_step); }) {}

StepSource::~StepSource() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

StepWork StepSource::next() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !ready_.empty() || failure_ != nullptr; });
  if (ready_.empty()) std::rethrow_exception(failure_);
  StepWork work = std::move(ready_.front());
  ready_.pop_front();
  lock.unlock();
  changed_.notify_all();
  return work;
}

void StepSource::produce(int64_t first_step, data::DataCursor cursor, int64_t end_step) {
  try {
    for (int64_t step = first_step; step < end_step; ++step) {
      StepWork work = make(step, cursor);
      cursor = work.next;
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return closing_ || ready_.size() < kAhead; });
      if (closing_) return;
      ready_.push_back(std::move(work));
      lock.unlock();
      changed_.notify_all();
    }
  } catch (...) {
    {
      const std::lock_guard lock(mutex_);
      failure_ = std::current_exception();
    }
    changed_.notify_all();
  }
}

StepWork StepSource::make(int64_t step, const data::DataCursor& cursor) const {
  const data::GlobalBatch batch =
      data::next_global_batch(lengths_, options_.seed, options_.policy, cursor);
  const data::StepPlan plan = data::plan_step(
      batch.lengths,
      {.dp = options_.dp, .cp = options_.cp, .micro_batch_tokens = options_.micro_batch_tokens});
  std::vector<tasks::SampleRef> all;
  for (size_t i = 0; i < batch.samples.size(); ++i) {
    all.push_back({batch.samples[i], static_cast<int64_t>(i)});
  }
  const tasks::StepKey key{options_.seed, static_cast<uint64_t>(step), batch.next.epoch};
  StepWork work;
  work.step = step;
  work.samples = batch.samples;
  work.counts = task_.loss_counts(all, key);
  work.tokens = batch.tokens;
  work.next = batch.next;
  work.ends_epoch = batch.next.position == static_cast<int64_t>(lengths_.size());
  for (const data::MicroBatch& micro : plan.ranks[static_cast<size_t>(options_.dp_rank)]) {
    std::vector<tasks::SampleRef> samples;
    for (const int32_t ordinal : micro.samples)
      samples.push_back(all[static_cast<size_t>(ordinal)]);
    data::PackedBatch whole = task_.make_batch(samples, key);
    if (options_.cp > 1) {
      work.shards.push_back(data::cp_shard(whole, options_.cp_rank, options_.cp));
      whole = work.shards.back().batch;
    }
    work.micro_batches.push_back(std::move(whole));
  }
  return work;
}

}  // namespace trireme::train
