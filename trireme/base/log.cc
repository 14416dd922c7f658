// The only file that includes spdlog. It is header-only here, over Debian's fmt, and its symbols
// stay hidden: LibTorch brings another fmt, and both live in one binary.
#include "trireme/base/log.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#pragma GCC visibility push(hidden)
#define FMT_HEADER_ONLY
#define SPDLOG_FMT_EXTERNAL
#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#pragma GCC visibility pop

#include "trireme/base/error.h"
#include "trireme/base/text_distance.h"

namespace trireme::log {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    default:
      return spdlog::level::err;
  }
}

std::string pattern(int rank) {
  const std::string prefix = rank < 0 ? std::string() : cat("[rank ", rank, "] ");
  return "[%Y-%m-%d %H:%M:%S.%e] " + prefix + "[%l] %v";
}

// The level of TRIREME_LOG; one that is no level is said once, through the logger it was meant for.
LogLevel level_of_environment(spdlog::logger& logger) {
  const char* value = std::getenv("TRIREME_LOG");
  if (value == nullptr || *value == '\0') return LogLevel::kInfo;
  const std::vector<std::string> names = {"debug", "info", "warn", "error"};  // in LogLevel's order
  const auto found = std::find(names.begin(), names.end(), value);
  if (found != names.end()) return static_cast<LogLevel>(found - names.begin());
  logger.warn("TRIREME_LOG: unknown log level '{}'{} (debug, info, warn or error)", value,
              did_you_mean(value, names));
  return LogLevel::kInfo;
}

struct State {
  State() : logger("trireme", std::make_shared<spdlog::sinks::stderr_sink_mt>()) {
    logger.set_pattern(pattern(-1));
    logger.flush_on(spdlog::level::debug);
    logger.set_level(to_spdlog(level_of_environment(logger)));
  }
  spdlog::logger logger;
};

// Never destroyed: threads may still log while the process ends.
State& state() {
  static State* const state = new State;
  return *state;
}

}  // namespace

void set_rank(int rank) {
  state().logger.set_pattern(pattern(rank));
}

void write(LogLevel level, std::string_view message) {
  state().logger.log(to_spdlog(level), spdlog::string_view_t(message.data(), message.size()));
}

}  // namespace trireme::log
