// Time as something that can be handed in: code that waits or measures takes a Clock, tests give a
// FakeClock.
#pragma once

#include <chrono>
#include <cstdint>

namespace trireme {

class Clock {
 public:
  virtual ~Clock() = default;
  // Nanoseconds since some fixed moment; never goes back.
  virtual std::int64_t now_ns() const = 0;
};

// The machine's monotonic clock.
class SteadyClock final : public Clock {
 public:
  std::int64_t now_ns() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
};

// Stands still until told to move. Not thread-safe.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(std::int64_t start_ns = 0) : now_ns_(start_ns) {}
  std::int64_t now_ns() const override { return now_ns_; }
  void advance_ns(std::int64_t ns) { now_ns_ += ns; }
  void advance_s(double s) { now_ns_ += static_cast<std::int64_t>(s * 1e9); }

 private:
  std::int64_t now_ns_;
};

// Seconds since it was made (or since restart()). The clock must outlive it.
class Stopwatch {
 public:
  explicit Stopwatch(const Clock& clock) : clock_(&clock), start_ns_(clock.now_ns()) {}
  void restart() { start_ns_ = clock_->now_ns(); }
  double seconds() const { return static_cast<double>(clock_->now_ns() - start_ns_) * 1e-9; }

 private:
  const Clock* clock_;
  std::int64_t start_ns_;
};

}  // namespace trireme
