#include "trireme/train/rank_times.h"

#include <algorithm>

namespace trireme::train {
namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace

std::vector<SlowRank> slow_ranks(const std::vector<double>& compute_s) {
  std::vector<SlowRank> slow;
  if (compute_s.size() < 2) return slow;
  for (size_t r = 0; r < compute_s.size(); ++r) {
    std::vector<double> others = compute_s;
    others.erase(others.begin() + static_cast<ptrdiff_t>(r));
    const SlowRank rank{static_cast<int>(r), compute_s[r], median(std::move(others))};
    if (rank.median_s > 0 && rank.factor() >= SlowRankWatch::kFactor) slow.push_back(rank);
  }
  return slow;
}

std::vector<SlowRank> SlowRankWatch::add_step(const std::vector<RankTime>& times) {
  compute_s_.resize(times.size());
  for (size_t r = 0; r < times.size(); ++r) compute_s_[r] += times[r].compute_s;
  if (++steps_ < kBlockSteps) return {};
  for (double& total : compute_s_) total /= static_cast<double>(steps_);
  std::vector<SlowRank> slow = slow_ranks(compute_s_);
  std::set<int> now;
  for (const SlowRank& rank : slow) now.insert(rank.rank);
  std::erase_if(slow, [&](const SlowRank& rank) { return slow_before_.contains(rank.rank); });
  slow_before_ = std::move(now);
  compute_s_.clear();
  steps_ = 0;
  return slow;
}

}  // namespace trireme::train
