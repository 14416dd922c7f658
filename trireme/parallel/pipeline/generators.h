// Generators of the known pipeline schedules: pure functions of (stages, chunks, micro-batches).
// They give compute actions alone; messages.h puts the sends and receives in.
//
// S stages, V chunks a stage, M micro-batches; F, B, W: the times of an action of a whole stage.
//
//   name          bubble, in time           activations held by rank s at most, in stages'
//   gpipe         (S - 1) (F + B + W)       M
//   1f1b          (S - 1) (F + B + W)       min(M, S - s)
//   interleaved   (S - 1) (F + B + W) / V   ((V - 1) S + 2 (S - s) - 1) / V, where S divides M
//   zb_h1         (S - 1) (F + B - W)       min(M, S)
//   zbv           none within a rank's      min(M, S)
//                 own span, where
//                 F = B = W, M >= 2 S - 1
//
// GPipe: Huang et al., 2019 (micro-batches go backward in the order in which they went forward, so
// that their gradients add up as everywhere else). 1F1B: PipeDream-Flush, Narayanan et al., 2021
// ("Memory-Efficient Pipeline-Parallel DNN Training"). Interleaved: Narayanan et al., 2021
// ("Efficient Large-Scale Language Model Training on GPU Clusters", section 2.2). ZB-H1: Qi et al.,
// 2023 ("Zero Bubble Pipeline Parallelism", section 3). ZBV: the same authors, 2023 and 2024
// ("Pipeline Parallelism with Controllable Memory").
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "trireme/parallel/pipeline/schedule.h"

namespace trireme::parallel::pipeline {

struct ScheduleShape {
  int stages = 1;
  int micro_batches = 1;
  int chunks_per_stage = 1;  // of `interleaved`; `zbv` has 2
};

// "gpipe", "1f1b", "interleaved", "zb_h1", "zbv".
const std::vector<std::string>& schedule_names();

// Chunks a rank in all: 1 but for `interleaved` (as the shape says) and `zbv` (2). Throws
// input_error for a name that is none, with the nearest one.
int chunks_per_stage(std::string_view name, const ScheduleShape& shape);

// Throws input_error for an unknown name or sizes below 1.
Schedule make_schedule(std::string_view name, const ScheduleShape& shape);

Schedule gpipe(int stages, int micro_batches);
Schedule one_f_one_b(int stages, int micro_batches);
// Chunk c lies on rank c mod S. Micro-batches go through a chunk in rounds of about S: any number
// of them is allowed, where Megatron-LM wants a multiple of S.
Schedule interleaved(int stages, int chunks_per_stage, int micro_batches);
Schedule zb_h1(int stages, int micro_batches);
// Two chunks a rank, the second ones in reverse: rank 0 has the first and the last.
Schedule zbv(int stages, int micro_batches);

// What to say when there are fewer micro-batches than stages: that, and the bubble at equal costs.
// Empty otherwise.
std::string few_micro_batches_warning(const Schedule& schedule);

}  // namespace trireme::parallel::pipeline
