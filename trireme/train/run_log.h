// What a run says while it goes on: the progress line, and TensorBoard scalars. Rank 0 has one.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>

#include "trireme/base/clock.h"
#include "trireme/base/json.h"
#include "trireme/base/progress.h"
#include "trireme/train/tensorboard.h"

namespace trireme::train {

struct RunLogOptions {
  std::ostream* progress = nullptr;  // null: no progress line
  bool in_place = false;             // it is a terminal
  int64_t first_step = 0;            // steps done before this run
  int64_t total_steps = 0;
  // Of the machine's GEMM peak, what a token a second takes; 0: not known.
  double gemm_share_per_token_per_s = 0;
  std::string tensorboard;  // folder; empty: none
};

class RunLog {
 public:
  // The clock must outlive it. Throws run_error when the event file cannot be written.
  RunLog(const Clock& clock, const RunLogOptions& options);

  struct Step {
    int64_t step = 0;  // steps done
    double loss = 0;
    double lr = 0;
    double grad_norm = 0;
    double real_tokens_per_s = 0;
  };
  void step(const Step& step);
  // Scores of an evaluation: a line of its own, and a scalar for each number.
  void scores(int64_t step, const Json& scores);
  // A line of its own.
  void say(const std::string& line);
  // Ends the line that is refreshed in place.
  void finish();

 private:
  double gemm_share_per_token_per_s_;
  std::ostream* out_;
  std::optional<Progress> progress_;
  std::optional<TensorboardWriter> board_;
};

}  // namespace trireme::train
