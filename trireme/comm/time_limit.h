// A time limit that a setting gives in seconds.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>

namespace trireme::comm {

// Longer ones, infinity too, become 24 days: the most that poll() takes.
inline std::chrono::milliseconds to_ms(double seconds) {
  constexpr double kMost = std::numeric_limits<int32_t>::max();
  return std::chrono::milliseconds(static_cast<int64_t>(std::min(seconds * 1000, kMost)));
}

}  // namespace trireme::comm
