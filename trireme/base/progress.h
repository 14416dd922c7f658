// The progress of a run: one line refreshed in place on a terminal, a plain line now and then
// elsewhere.
//
//   step 120/500  loss 1.2346  3,155 tokens/s  62% of GEMM peak  ETA 1m23s
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <string>

#include "trireme/base/clock.h"

namespace trireme {

struct ProgressState {
  std::int64_t step = 0;  // steps done
  double loss = 0;
  double real_tokens_per_s = 0;
  std::optional<double> gemm_share =
      std::nullopt;  // of the machine's measured GEMM peak, 0.62 = 62 %
};

struct ProgressOptions {
  std::int64_t total_steps = 0;      // 0 = not known: no total, no ETA
  std::int64_t first_step = 0;       // where this run began (after a resume)
  bool in_place = false;             // the stream is a terminal
  double terminal_interval_s = 0.1;  // shortest time between two refreshes
  double plain_interval_s = 10;      // shortest time between two plain lines
};

// The first update, and the update of step total_steps, always show.
class Progress {
 public:
  // Both must outlive the object.
  Progress(std::ostream& out, const Clock& clock, ProgressOptions options);

  void update(const ProgressState& state);
  // Ends a line that is refreshed in place, so that other output starts on its own line. May be
  // followed by updates.
  void finish();

 private:
  std::string line(const ProgressState& state) const;

  std::ostream& out_;
  const Clock& clock_;
  ProgressOptions options_;
  std::int64_t start_ns_;
  std::optional<std::int64_t> shown_ns_;
  std::size_t shown_width_ = 0;  // of the unfinished line on the terminal
};

// True when standard error is a terminal that can refresh a line (and TERM is not "dumb").
bool stderr_is_terminal();

// "1m23s", "2h05m", "3d04h", "9s".
std::string format_duration(double seconds);
// 1234567 -> "1,234,567"; rounded.
std::string format_count(double value);

}  // namespace trireme
