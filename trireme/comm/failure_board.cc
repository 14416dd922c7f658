#include "trireme/comm/failure_board.h"

#include <algorithm>

namespace trireme::comm {

bool FailureBoard::report(const Failure& failure) {
  {
    const std::lock_guard lock(mutex_);
    const auto now = Clock::now();
    if (failure_) {
      if (now >= settled_at_ || failure.reporter >= failure_->reporter) {
        return false;
      }
      failure_ = failure;
      return true;
    }
    failure_ = failure;
    settled_at_ = now + kSettleTime;
  }
  changed_.notify_all();
  const std::lock_guard calls(calls_mutex_);
  for (const auto& [id, f] : subscribers_) {
    f();
  }
  return true;
}

std::optional<Failure> FailureBoard::get() const {
  const std::lock_guard lock(mutex_);
  const bool shown = failure_ && holds_ == 0 && Clock::now() >= settled_at_;
  return shown ? failure_ : std::nullopt;
}

std::optional<Failure> FailureBoard::wait_for(std::chrono::milliseconds time) const {
  const auto end = Clock::now() + time;
  std::unique_lock lock(mutex_);
  for (;;) {
    const auto now = Clock::now();
    const bool waits_for_time = failure_ && holds_ == 0;
    if (waits_for_time && now >= settled_at_) {
      return failure_;
    }
    if (now >= end) {
      return std::nullopt;
    }
    changed_.wait_until(lock, waits_for_time ? std::min(end, settled_at_) : end);
  }
}

bool FailureBoard::reported() const {
  const std::lock_guard lock(mutex_);
  return failure_.has_value();
}

FailureBoard::Hold::Hold(FailureBoard& board) : board_(board) {
  const std::lock_guard lock(board_.mutex_);
  ++board_.holds_;
}

FailureBoard::Hold::~Hold() {
  {
    const std::lock_guard lock(board_.mutex_);
    --board_.holds_;
  }
  board_.changed_.notify_all();
}

int FailureBoard::subscribe(std::function<void()> f) {
  const std::lock_guard calls(calls_mutex_);
  if (reported()) {
    f();
  }
  subscribers_.emplace(next_id_, std::move(f));
  return next_id_++;
}

void FailureBoard::unsubscribe(int id) {
  const std::lock_guard calls(calls_mutex_);
  subscribers_.erase(id);
}

}  // namespace trireme::comm
