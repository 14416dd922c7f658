// Learning-rate schedules: warm-up, then linear, cosine, constant, or warm-up-stable-decay.
//
//   optim::Schedule schedule{.kind = ScheduleKind::kLinear, .total_steps = 1000, .warmup_steps =
//   100}; const double lr = peak * schedule.factor(step);   // step = optimiser steps taken before
//   this one
//
// Equal, value for value, to transformers' get_{linear,cosine,constant,wsd}_schedule...: the first
// step of a warm-up has factor 0, and the factor after the last step would be 0 (constant: 1).
#pragma once

#include <cstdint>

namespace trireme::optim {

enum class ScheduleKind { kLinear, kCosine, kConstant, kWsd };

struct Schedule {
  ScheduleKind kind = ScheduleKind::kLinear;
  int64_t total_steps = 1;
  int64_t warmup_steps = 0;
  int64_t decay_steps = 0;  // kWsd only: the cosine fall at the end

  // What the peak rate is multiplied by at `step`, counted from 0. Pure.
  double factor(int64_t step) const;
};

// ceil(ratio * total_steps): a share of the run in steps, as transformers rounds it.
int64_t ratio_to_steps(double ratio, int64_t total_steps);

}  // namespace trireme::optim
