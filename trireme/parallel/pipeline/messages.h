// Puts sends and receives into a schedule of compute actions.
#pragma once

#include "trireme/parallel/pipeline/schedule.h"

namespace trireme::parallel::pipeline {

// Every output and gradient that another rank needs is sent right after the action that makes it,
// and its receive is posted one compute action before the one that needs it, so that it travels
// behind that: earlier where the sender's order asks for it, because messages between two ranks
// match in the order of the calls. What stays on its rank needs no message. A schedule that has
// messages already comes back as it is.
Schedule with_messages(Schedule schedule);

bool has_messages(const Schedule& schedule);

// The message that carries what `action` (F, BW or B) makes to another rank, as its send.
std::optional<Action> send_after(const Schedule& schedule, const Action& action);
// The message without which `action` cannot begin, as its receive. None: it needs none, or what it
// needs was made on the same rank.
std::optional<Action> recv_before(const Schedule& schedule, const Action& action);
// The rank at the other end of a message of `schedule`.
int peer_of(const Schedule& schedule, const Action& message);
// The send of a receive, and the receive of a send.
Action other_end(const Action& message);

}  // namespace trireme::parallel::pipeline
