#include "trireme/train/run_log.h"

#include <iomanip>
#include <ostream>
#include <sstream>

#include "trireme/base/error.h"

namespace trireme::train {
namespace {

std::string in_words(const Json& scores) {
  std::ostringstream text;
  text << std::setprecision(4);
  for (const auto& [key, value] : scores.items()) {
    if (value.is_number()) text << "  " << key << " " << value.get<double>();
  }
  return text.str();
}

}  // namespace

RunLog::RunLog(const Clock& clock, const RunLogOptions& options)
    : gemm_share_per_token_per_s_(options.gemm_share_per_token_per_s), out_(options.progress) {
  if (out_ != nullptr) {
    progress_.emplace(*out_, clock,
                      ProgressOptions{.total_steps = options.total_steps,
                                      .first_step = options.first_step,
                                      .in_place = options.in_place});
  }
  if (!options.tensorboard.empty()) board_.emplace(options.tensorboard, options.first_step);
}

void RunLog::step(const Step& step) {
  if (progress_) {
    ProgressState state{
        .step = step.step, .loss = step.loss, .real_tokens_per_s = step.real_tokens_per_s};
    if (gemm_share_per_token_per_s_ > 0)
      state.gemm_share = step.real_tokens_per_s * gemm_share_per_token_per_s_;
    progress_->update(state);
  }
  if (board_) {
    board_->add(step.step, {{"train/loss", step.loss},
                            {"train/lr", step.lr},
                            {"train/grad_norm", step.grad_norm},
                            {"train/real_tokens_per_s", step.real_tokens_per_s}});
    board_->flush();
  }
}

void RunLog::scores(int64_t step, const Json& scores) {
  say(cat("evaluation at step ", step, in_words(scores)));
  if (board_) {
    TensorboardWriter::Scalars scalars;
    for (const auto& [key, value] : scores.items()) {
      if (value.is_number()) scalars.emplace_back("eval/" + key, value.get<double>());
    }
    board_->add(step, scalars);
    board_->flush();
  }
}

void RunLog::say(const std::string& line) {
  if (!progress_) return;
  progress_->finish();
  *out_ << line << '\n' << std::flush;
}

void RunLog::finish() {
  if (progress_) progress_->finish();
}

}  // namespace trireme::train
