#include "trireme/comm/shm_runner.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>

namespace trireme::comm {
namespace {

using Clock = std::chrono::steady_clock;
using Lock = std::unique_lock<std::mutex>;

constexpr std::chrono::milliseconds kCheckTime{20};
constexpr int kSpins = 2000;           // some 50 us
constexpr int kBackgroundSpins = 100;  // the thread takes a core from the computation
constexpr int kYields = 20;

void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void futex_wait(std::atomic<uint32_t>& word, uint32_t value, std::chrono::milliseconds most) {
  const timespec time{most.count() / 1000, most.count() % 1000 * 1000000};
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), FUTEX_WAIT, value, &time, nullptr, 0);
}

}  // namespace

void ring(shm::Bell& bell) {
  if (bell.sleeps.load(std::memory_order_seq_cst) == 0) return;
  bell.rings.fetch_add(1, std::memory_order_seq_cst);
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&bell.rings), FUTEX_WAKE, INT_MAX, nullptr,
          nullptr, 0);
}

// What a thread does when nothing could be done: spin, then say that it sleeps, look once more, and
// sleep.
class ShmRunner::Idle {
 public:
  Idle(shm::Bell& bell, bool spin, int spins)
      : bell_(bell), spin_(spin), spins_(spin ? spins : kYields) {}
  ~Idle() { disarm(); }
  Idle(const Idle&) = delete;
  Idle& operator=(const Idle&) = delete;

  void moved() {
    disarm();
    count_ = 0;
  }
  // Returns after a while; true: it slept.
  bool rest(Lock& lock) {
    if (++count_ < spins_) {
      lock.unlock();
      spin_ ? pause_briefly() : static_cast<void>(sched_yield());
      lock.lock();
      return false;
    }
    if (!armed_) {
      value_ = bell_.rings.load(std::memory_order_seq_cst);
      bell_.sleeps.store(1, std::memory_order_seq_cst);
      armed_ = true;
      return false;
    }
    lock.unlock();
    futex_wait(bell_.rings, value_, kCheckTime);
    lock.lock();
    moved();
    return true;
  }

 private:
  void disarm() {
    if (armed_) bell_.sleeps.store(0, std::memory_order_seq_cst);
    armed_ = false;
  }

  shm::Bell& bell_;
  bool spin_;
  int spins_;
  int count_ = 0;
  bool armed_ = false;
  uint32_t value_ = 0;
};

ShmRunner::ShmRunner(const Options& options) : options_(options) {
  thread_ = std::thread([this] { work(); });
}

ShmRunner::~ShmRunner() {
  {
    const std::lock_guard lock(mutex_);
    end_ = true;
  }
  changed_.notify_all();
  ring(*options_.bell);
  thread_.join();
}

void ShmRunner::add(std::shared_ptr<ShmLane> lane) {
  const std::lock_guard lock(mutex_);
  lanes_.push_back(std::move(lane));
}

void ShmRunner::remove(const std::shared_ptr<ShmLane>& lane) {
  Lock lock(mutex_);
  ++waiting_;
  ring(*options_.bell);
  changed_.wait(lock, [this] { return !running_; });
  --waiting_;
  std::erase(lanes_, lane);
  lock.unlock();
  changed_.notify_all();
}

void ShmRunner::submit(ShmLane& lane, std::shared_ptr<ShmTask> task, bool background) {
  {
    const std::lock_guard lock(mutex_);
    lane.tasks.push_back(std::move(task));
    if (lane.broken) finish(lane, lane.broken);
    background_ = background_ || background;
  }
  if (background) {
    changed_.notify_all();
    ring(*options_.bell);
  }
}

void ShmRunner::begin() {
  {
    const std::lock_guard lock(mutex_);
    background_ = true;
  }
  changed_.notify_all();
  ring(*options_.bell);
}

void ShmRunner::drain(ShmLane& lane, const std::function<bool()>& give_up) {
  Lock lock(mutex_);
  while (!lane.tasks.empty() && !give_up()) {
    background_ = true;
    changed_.notify_all();
    changed_.wait_for(lock, kCheckTime);
  }
}

void ShmRunner::finish(ShmLane& lane, const std::exception_ptr& error) {
  const auto task = std::move(lane.tasks.front());
  lane.tasks.pop_front();
  task->error_ = error;
  task->over_.store(true, std::memory_order_release);
}

// `lock` is held at its beginning and end, not while a task advances; only the thread that set
// running_ is here, so a lane's first task stays what it is.
bool ShmRunner::pass(Lock& lock) {
  bool moved = false;
  for (size_t i = 0; i < lanes_.size(); ++i) {
    const std::shared_ptr<ShmLane> lane = lanes_[i];
    if (lane->tasks.empty()) continue;
    ShmTask& task = *lane->tasks.front();
    lock.unlock();
    auto progress = ShmTask::Progress::kOver;
    std::exception_ptr error;
    try {
      progress = task.advance();
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    moved = moved || progress != ShmTask::Progress::kNone;
    if (error) {
      lane->broken = error;
      while (!lane->tasks.empty()) finish(*lane, error);
    } else if (progress == ShmTask::Progress::kOver) {
      finish(*lane, nullptr);
    }
  }
  if (moved && waiting_ > 0) changed_.notify_all();
  return moved;
}

void ShmRunner::wait(const ShmTask& task, const std::function<void()>& check) {
  if (!over(task)) {
    Lock lock(mutex_);
    auto checked = Clock::now();
    const auto look = [&] {
      if (Clock::now() - checked < kCheckTime) return;
      checked = Clock::now();
      lock.unlock();
      check();
      lock.lock();
    };
    while (!over(task)) {
      if (running_) {
        ++waiting_;
        ring(*options_.bell);
        changed_.wait_for(lock, kCheckTime, [&] { return !running_ || over(task); });
        --waiting_;
        look();
        continue;
      }
      running_ = true;
      try {
        Idle idle(*options_.bell, options_.spin, kSpins);
        while (!over(task)) {
          if (pass(lock)) {
            idle.moved();
          } else if (idle.rest(lock)) {
            look();
          }
        }
      } catch (...) {
        if (!lock.owns_lock()) lock.lock();
        running_ = false;
        changed_.notify_all();
        throw;
      }
      running_ = false;
    }
    lock.unlock();
    changed_.notify_all();
  }
  if (task.error_) std::rethrow_exception(task.error_);
}

void ShmRunner::work() {
  Lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return end_ || (background_ && !running_ && waiting_ == 0); });
    if (end_) return;
    running_ = true;
    {
      Idle idle(*options_.bell, options_.spin, kBackgroundSpins);
      while (!end_ && waiting_ == 0) {
        if (pass(lock)) {
          idle.moved();
          continue;
        }
        background_ = std::any_of(lanes_.begin(), lanes_.end(),
                                  [](const auto& lane) { return !lane->tasks.empty(); });
        if (!background_) break;
        idle.rest(lock);
      }
    }
    running_ = false;
    changed_.notify_all();
  }
}

}  // namespace trireme::comm
