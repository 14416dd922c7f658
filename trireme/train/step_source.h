// The batches of the steps to come, made ahead on a thread of their own.
//
//   StepSource source(task, {.seed = 1, ...}, first);
//   while (...) { StepWork work = source.next(); ... }
//
// What a step holds depends on (seed, policy, cursor) alone; every rank plans for all and makes its
// own micro-batches.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "trireme/data/cp_shard.h"
#include "trireme/data/order.h"
#include "trireme/data/packed_batch.h"
#include "trireme/tasks/task.h"

namespace trireme::train {

struct StepWork {
  int64_t step = 0;                              // counted from 0
  std::vector<int64_t> samples;                  // of the global batch, by ordinal
  std::vector<int64_t> counts;                   // Task::loss_counts of the global batch
  std::vector<data::PackedBatch> micro_batches;  // this rank's; as many on every rank
  std::vector<data::CpShard> shards;             // with cp: what the micro-batches are the batch of
  int64_t tokens = 0;                            // real tokens of the global batch
  data::DataCursor next;                         // where the following step begins
  bool ends_epoch = false;
};

struct StepSourceOptions {
  uint64_t seed = 0;
  data::BatchPolicy policy;
  int64_t micro_batch_tokens = 0;
  int dp = 1;
  int dp_rank = 0;
  int cp = 1;
  int cp_rank = 0;
};

class StepSource {
 public:
  // Steps [first_step, end_step), the first one at `cursor`. `task` and `lengths` (tokens of every
  // sample) must outlive it; the task's make_batch and loss_counts are called from the thread.
  StepSource(const tasks::Task& task, const std::vector<int32_t>& lengths,
             const StepSourceOptions& options, int64_t first_step, data::DataCursor cursor,
             int64_t end_step);
  ~StepSource();
  StepSource(const StepSource&) = delete;
  StepSource& operator=(const StepSource&) = delete;

  // The next step; throws what making it threw. Not beyond end_step.
  StepWork next();

 private:
  void produce(int64_t first_step, data::DataCursor cursor, int64_t end_step);
  StepWork make(int64_t step, const data::DataCursor& cursor) const;

  const tasks::Task& task_;
  const std::vector<int32_t>& lengths_;
  const StepSourceOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<StepWork> ready_;
  std::exception_ptr failure_;
  bool closing_ = false;
  std::thread thread_;  // last: it uses the members above
};

}  // namespace trireme::train
