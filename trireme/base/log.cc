// The only file that includes spdlog. It is header-only here, over Debian's fmt, and its symbols
// stay hidden: LibTorch brings another fmt, and both live in one binary.
#include "trireme/base/log.h"

#include <atomic>
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
  const char* name = std::getenv("TRIREME_LOG");
  if (name == nullptr || *name == '\0') return LogLevel::kInfo;
  try {
    return parse_level(name);
  } catch (const Error& error) {
    logger.warn("TRIREME_LOG: {}", error.what());
    return LogLevel::kInfo;
  }
}

struct State {
  State() : logger("trireme", std::make_shared<spdlog::sinks::stderr_sink_mt>()) {
    logger.set_pattern(pattern(-1));
    logger.flush_on(spdlog::level::debug);
    set(level_of_environment(logger));
  }
  void set(LogLevel value) {
    level.store(value, std::memory_order_relaxed);
    logger.set_level(to_spdlog(value));
  }
  spdlog::logger logger;
  std::atomic<LogLevel> level{LogLevel::kInfo};
};

// Never destroyed: threads may still log while the process ends.
State& state() {
  static State* const state = new State;
  return *state;
}

}  // namespace

void set_level(LogLevel level) {
  state().set(level);
}

LogLevel level() {
  return state().level.load(std::memory_order_relaxed);
}

LogLevel parse_level(std::string_view name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "warn") return LogLevel::kWarn;
  if (name == "error") return LogLevel::kError;
  const std::vector<std::string> names = {"debug", "info", "warn", "error"};
  throw input_error("unknown log level '", name, "'", did_you_mean(name, names),
                    " (debug, info, warn or error)");
}

void set_rank(int rank) {
  state().logger.set_pattern(pattern(rank));
}

bool enabled(LogLevel level) {
  return level >= log::level();
}

void write(LogLevel level, std::string_view message) {
  if (!enabled(level)) return;
  state().logger.log(to_spdlog(level), spdlog::string_view_t(message.data(), message.size()));
}

}  // namespace trireme::log
