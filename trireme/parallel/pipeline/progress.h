// Goes through a schedule as its ranks would: an action is visited when all that it needs has been.
// What the validator and the simulator share.
//
// A rank does its actions in order. Sends never block it, and neither does posting a receive; a
// compute action waits for its input: of an earlier action of the same rank, or of a message. That
// is what executor.h does over comm::Group.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

#include "trireme/parallel/pipeline/schedule.h"

namespace trireme::parallel::pipeline {

// What an action gives, or waits for: an output (F), an input's gradient (B), or the arrival of a
// message (SF, SB).
struct Product {
  ActionKind kind;
  int micro_batch;
  int chunk;

  auto operator<=>(const Product&) const = default;
};

// What an action must wait for. `messages`: the schedule has them; without, what another rank makes
// is there at once.
std::vector<Product> needs_of(const Schedule& schedule, bool messages, const Action& action);
// What is there once an action has been done; none for W and receives.
std::optional<Product> product_of(const Action& action);

// Visits every action that can be reached, (rank, index) in an order that fits what they need.
// Returns by rank how many were: less than the rank has where it waits for ever.
std::vector<size_t> progress(const Schedule& schedule,
                             const std::function<void(int rank, size_t index)>& visit);

}  // namespace trireme::parallel::pipeline
