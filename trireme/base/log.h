// Log lines on stderr, safe to call from any thread:
//
//   log_info(cat("resumed from ", path, " at step ", step));
//
//   [2026-11-25 12:00:00.123] [rank 1] [info] resumed from runs/a/step-200 at step 200
//
// The level is info, or what the environment variable TRIREME_LOG says (debug, info, warn, error).
#pragma once

#include <string>
#include <string_view>

namespace trireme {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

namespace log {

// Puts "[rank N]" into every line from now on; a negative rank takes it away.
void set_rank(int rank);

void write(LogLevel level, std::string_view message);

}  // namespace log

inline void log_debug(std::string_view message) {
  log::write(LogLevel::kDebug, message);
}
inline void log_info(std::string_view message) {
  log::write(LogLevel::kInfo, message);
}
inline void log_warn(std::string_view message) {
  log::write(LogLevel::kWarn, message);
}
inline void log_error(std::string_view message) {
  log::write(LogLevel::kError, message);
}

}  // namespace trireme
