#include "trireme/base/progress.h"

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace trireme {
namespace {

template <class... Args>
std::string printed(const char* format, Args... args) {
  char buffer[64];
  const int length = std::snprintf(buffer, sizeof buffer, format, args...);
  return {buffer, static_cast<std::size_t>(length)};
}

}  // namespace

Progress::Progress(std::ostream& out, const Clock& clock, ProgressOptions options)
    : out_(out), clock_(clock), options_(options), start_ns_(clock.now_ns()) {}

void Progress::update(const ProgressState& state) {
  const std::int64_t now = clock_.now_ns();
  const double interval_s =
      options_.in_place ? options_.terminal_interval_s : options_.plain_interval_s;
  const bool last = options_.total_steps > 0 && state.step >= options_.total_steps;
  if (shown_ns_ && !last && static_cast<double>(now - *shown_ns_) * 1e-9 < interval_s) return;
  shown_ns_ = now;

  const std::string text = line(state);
  if (!options_.in_place) {
    out_ << text << '\n' << std::flush;
    return;
  }
  // Spaces wipe what a longer line left behind.
  const std::size_t rest = shown_width_ > text.size() ? shown_width_ - text.size() : 0;
  out_ << '\r' << text << std::string(rest, ' ') << std::flush;
  shown_width_ = text.size();
}

void Progress::finish() {
  if (shown_width_ > 0) out_ << '\n' << std::flush;
  shown_width_ = 0;
}

std::string Progress::line(const ProgressState& state) const {
  std::string text = "step " + std::to_string(state.step);
  if (options_.total_steps > 0) text += "/" + std::to_string(options_.total_steps);
  text += "  loss " + printed("%.4f", state.loss);
  text += "  " + format_count(state.real_tokens_per_s) + " tokens/s";
  if (state.gemm_share) text += "  " + printed("%.0f%% of GEMM peak", *state.gemm_share * 100);
  const std::int64_t done = state.step - options_.first_step;
  if (options_.total_steps > 0 && done > 0) {
    const double elapsed_s = static_cast<double>(clock_.now_ns() - start_ns_) * 1e-9;
    const auto left = static_cast<double>(options_.total_steps - state.step);
    text += "  ETA " + format_duration(elapsed_s / static_cast<double>(done) * left);
  }
  return text;
}

bool stderr_is_terminal() {
  const char* term = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) == 1 && term != nullptr && std::string_view(term) != "dumb";
}

std::string format_duration(double seconds) {
  if (!(seconds >= 0 && seconds < 1e9)) return "?";
  const long long s = std::llround(seconds);
  if (s < 60) return printed("%llds", s);
  if (s < 3600) return printed("%lldm%02llds", s / 60, s % 60);
  if (s < 86400) return printed("%lldh%02lldm", s / 3600, s / 60 % 60);
  return printed("%lldd%02lldh", s / 86400, s / 3600 % 24);
}

std::string format_count(double value) {
  if (!(std::abs(value) < 1e15)) return "?";
  std::string digits = std::to_string(std::llround(std::abs(value)));
  for (int at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(at, ",");
  return (std::llround(value) < 0 ? "-" : "") + digits;
}

}  // namespace trireme
