#include "trireme/train/score_keeper.h"

#include <utility>

#include "trireme/base/error.h"

namespace trireme::train {

ScoreKeeper::ScoreKeeper(std::string metric, Better better, int64_t patience)
    : metric_(std::move(metric)), better_(better), patience_(patience) {}

bool ScoreKeeper::consider(int64_t step, const Json& scores) {
  const auto found = scores.find(metric_);
  if (found == scores.end() || !found->is_number()) {
    throw run_error("the evaluation at step ", step, " has no '", metric_, "' to go by");
  }
  const auto value = found->get<double>();
  if (!best_.empty()) {
    const auto best = best_[metric_].get<double>();
    const bool better = better_ == Better::kHigher ? value > best : value < best;
    if (!better) {
      ++without_better_;
      return false;
    }
  }
  without_better_ = 0;
  best_ = scores;
  best_["step"] = step;
  return true;
}

Json ScoreKeeper::to_json() const {
  return {{"best", best_}, {"evaluations_without_better", without_better_}};
}

void ScoreKeeper::restore(const Json& saved, const std::string& where) {
  const Json& best = require_object(saved, "best", where);
  if (!best.empty()) require_double(best, metric_, where + ": best");
  without_better_ = require_int(saved, "evaluations_without_better", where);
  best_ = best;
}

}  // namespace trireme::train
