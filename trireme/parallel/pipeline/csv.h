// Pipeline schedules as CSV files, to look at in a spreadsheet or to write by hand.
//
//   # comment
//   micro_batches,4
//   placement,0,1
//   0,F0,F1,BW0,F2,BW1,F3,BW2,BW3
//   1,,F0,BW0,F1,BW1,F2,BW2,F3,BW3
//
// `placement` names the rank of each chunk in turn; without it chunk c lies on rank c. A row of
// actions begins with its rank; an action is its kind (F, BW, B, W; SF, RF, SB, RB), the
// micro-batch and, where the rank has several chunks, a dot and the chunk: F3.1. Blank cells mean
// nothing, they only line columns up. Sends and receives may be left out (messages.h puts them in).
#pragma once

#include <string>
#include <string_view>

#include "trireme/parallel/pipeline/schedule.h"

namespace trireme::parallel::pipeline {

std::string to_csv(const Schedule& schedule);

// Throws input_error with `where`, line and cell for what is not of the form; not for a schedule
// that is not valid (validate.h).
Schedule schedule_from_csv(std::string_view text, const std::string& where);

}  // namespace trireme::parallel::pipeline
