// Which evaluation was the best, and whether it is time to give up: early stopping.
//
//   ScoreKeeper keeper("f1", /*higher_is_better=*/true, patience);
//   if (keeper.consider(step, scores)) ...   // a new best
//   if (keeper.exhausted()) ...              // `patience` evaluations in a row without one
#pragma once

#include <cstdint>
#include <string>

#include "trireme/base/json.h"

namespace trireme::train {

enum class Better { kHigher, kLower };

class ScoreKeeper {
 public:
  // `metric`: the key of the scores to go by. Patience 0: never exhausted.
  ScoreKeeper(std::string metric, Better better, int64_t patience);

  // True when it beats all before. Throws run_error when `scores` has no number under the metric.
  bool consider(int64_t step, const Json& scores);
  bool exhausted() const { return patience_ > 0 && without_better_ >= patience_; }
  // The best scores with their "step"; empty before the first.
  const Json& best() const { return best_; }

  // What a checkpoint keeps; throws input_error, opened by `where`, for another's.
  Json to_json() const;
  void restore(const Json& saved, const std::string& where);

 private:
  std::string metric_;
  Better better_;
  int64_t patience_;
  Json best_ = Json::object();
  int64_t without_better_ = 0;
};

}  // namespace trireme::train
