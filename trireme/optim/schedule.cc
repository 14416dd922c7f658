#include "trireme/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace trireme::optim {
namespace {

// part / whole, a whole of nothing taken as one step.
double share(int64_t part, int64_t whole) {
  return static_cast<double>(part) / static_cast<double>(std::max<int64_t>(1, whole));
}

double half_cosine(double progress) {
  return 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
}

}  // namespace

double Schedule::factor(int64_t step) const {
  if (step < warmup_steps) return share(step, warmup_steps);
  switch (kind) {
    case ScheduleKind::kConstant:
      return 1.0;
    case ScheduleKind::kLinear:
      return std::max(0.0, share(total_steps - step, total_steps - warmup_steps));
    case ScheduleKind::kCosine:
      return std::max(0.0, half_cosine(share(step - warmup_steps, total_steps - warmup_steps)));
    case ScheduleKind::kWsd: {
      const int64_t decay_begin = total_steps - decay_steps;
      if (step < decay_begin) return 1.0;
      if (step >= total_steps) return 0.0;
      return std::max(0.0, half_cosine(share(step - decay_begin, decay_steps)));
    }
  }
  return 1.0;
}

int64_t ratio_to_steps(double ratio, int64_t total_steps) {
  return static_cast<int64_t>(std::ceil(ratio * static_cast<double>(total_steps)));
}

}  // namespace trireme::optim
