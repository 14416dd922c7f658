// One line to many ranks at once, and what they answer.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "trireme/comm/culprit.h"
#include "trireme/comm/peers.h"

namespace trireme::comm {

// How long a rank has to answer; one that does not is stuck.
inline constexpr std::chrono::milliseconds kAnswerTime{500};

// Sends `line` to the listeners of all of `ranks` and collects their answers: a line of JSON,
// {"answer": an Answer, "left": [{"rank", "answer"}]}, where "left" are ranks that the speaker saw
// leave in good order. Takes kAnswerTime at most.
std::map<int, Answer> call_ranks(const std::vector<Peer>& peers, const std::vector<int>& ranks,
                                 const std::string& line);

// Of ranks that are gone, what is known of those that left in good order.
void fill_in_left(std::map<int, Answer>& answers, const std::map<int, Answer>& left);

}  // namespace trireme::comm
