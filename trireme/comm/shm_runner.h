// Runs operations in shared memory: those that somebody waits for on the thread that waits, the
// others on a thread of its own, so that they go on behind the caller's computation. An operation
// never blocks: advance() does what can be done now, so that several are under way at once.
//
// Waiting spins for a moment, then sleeps until a peer rings (shm::Bell). Where ranks are more than
// cores it yields at once.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "trireme/comm/shm_layout.h"

namespace trireme::comm {

class ShmTask {
 public:
  virtual ~ShmTask() = default;
  enum class Progress { kNone, kSome, kOver };
  // Called by one thread at a time, until it is over or throws.
  virtual Progress advance() = 0;

 private:
  friend class ShmRunner;
  std::atomic<bool> over_ = false;  // error_ is set before
  std::exception_ptr error_;
};

// Operations that go one after the other: a group's collectives, messages between two ranks. After
// one that failed, all fail.
struct ShmLane {
  std::deque<std::shared_ptr<ShmTask>> tasks;
  std::exception_ptr broken;
};

class ShmRunner {
 public:
  struct Options {
    shm::Bell* bell = nullptr;  // this rank's
    bool spin = true;           // a core for each rank of the host
  };
  explicit ShmRunner(const Options& options);
  ~ShmRunner();
  ShmRunner(const ShmRunner&) = delete;
  ShmRunner& operator=(const ShmRunner&) = delete;

  void add(std::shared_ptr<ShmLane> lane);
  // What is in the lane is dropped.
  void remove(const std::shared_ptr<ShmLane>& lane);
  // `background`: the runner's thread may begin it; otherwise it begins when somebody waits for it
  // or for one behind it, or when a background task comes behind it in any lane.
  void submit(ShmLane& lane, std::shared_ptr<ShmTask> task, bool background);
  // The runner's thread begins all that is there.
  void begin();
  // Returns when the lane is empty, or `give_up` says so (asked now and then).
  void drain(ShmLane& lane, const std::function<bool()>& give_up);
  // Returns when the task is over; rethrows what it threw. `check` is called now and then while it
  // waits and may throw: then the task stays where it is.
  void wait(const ShmTask& task, const std::function<void()>& check);
  static bool over(const ShmTask& task) { return task.over_.load(std::memory_order_acquire); }

 private:
  class Idle;
  using Lock = std::unique_lock<std::mutex>;

  // One look at the first task of every lane.
  bool pass(Lock& lock);
  void finish(ShmLane& lane, const std::exception_ptr& error);
  void work();

  Options options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<ShmLane>> lanes_;
  bool running_ = false;     // a thread is in pass(): it alone looks at tasks
  int waiting_ = 0;          // threads that wish to be that one: the runner's own makes way
  bool background_ = false;  // there is something for the runner's own thread
  bool end_ = false;
  std::thread thread_;
};

// After a counter was raised: wakes its rank when that sleeps.
void ring(shm::Bell& bell);

}  // namespace trireme::comm
