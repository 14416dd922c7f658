// Who holds up an operation, given what all ranks say of themselves. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "trireme/base/json.h"
#include "trireme/comm/failure.h"
#include "trireme/comm/operations.h"

namespace trireme::comm {

// What is known of a rank.
struct Answer {
  enum class Kind {
    kGone,    // does not accept connections
    kSilent,  // accepts, but does not answer
    kLeft,    // ended in good order before
    kSpoke,
  };
  Kind kind = Kind::kSilent;
  // Of one that spoke or left:
  std::vector<Operation> last;     // FlightRecorder::last()
  std::vector<Operation> history;  // counterpart() of the operation that it was asked about
};

Json to_json(const Answer& answer);
// Throws input_error on anything that to_json() does not write; `where` opens the message.
Answer answer_from_json(const Json& json, const std::string& where);

// Of `operations`, those of `rank` that belong to `mine`, an operation of `my_rank`, and a few
// before it: the same group's collectives; for a send the receives from my_rank, and the other way
// round.
std::vector<Operation> counterpart(const std::vector<Operation>& operations, const Operation& mine,
                                   int my_rank);

struct Verdict {
  Failure failure;
  // Nothing that the ranks may still say can change it: all have come to the operation, and theirs
  // do not fit together.
  bool certain = false;
};

// `ranks`: the group's; `answers` by world rank, my own too. In this order: ranks that are gone;
// ranks whose operation does not fit the others' (the fewer; when there is no majority, all are
// named); ranks that do not answer; ranks that have not reached the operation, with the operation
// that they left out when their history shows it.
Verdict find_culprit(const Operation& mine, int my_rank, const std::vector<int>& ranks,
                     const std::map<int, Answer>& answers);

// What every rank did last, for people: "rank 0, 2: all_reduce '...' (...), running for 2.0 s",
// a line for each group of ranks that are alike.
std::vector<std::string> last_operations_table(const std::map<int, Answer>& answers);

}  // namespace trireme::comm
