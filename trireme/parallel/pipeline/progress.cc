#include "trireme/parallel/pipeline/progress.h"

#include <algorithm>

#include "trireme/parallel/pipeline/messages.h"

namespace trireme::parallel::pipeline {
using enum ActionKind;

std::vector<Product> needs_of(const Schedule& schedule, bool messages, const Action& action) {
  const auto [kind, m, chunk] = action;
  std::vector<Product> needs;
  if (!is_compute(kind)) {
    // A send follows what it carries.
    if (is_send(kind))
      needs.push_back({kind == kSendForward ? kForward : kBackwardInput, m, chunk});
    return needs;
  }
  const auto recv = messages ? recv_before(schedule, action) : std::nullopt;
  if (recv) {
    needs.push_back({other_end(*recv).kind, m, other_end(*recv).chunk});
  } else if (kind == kForward && chunk > 0) {
    needs.push_back({kForward, m, chunk - 1});
  } else if (makes_input_gradient(kind) && chunk + 1 < schedule.chunks()) {
    needs.push_back({kBackwardInput, m, chunk + 1});
  }
  if (makes_input_gradient(kind)) needs.push_back({kForward, m, chunk});
  if (kind == kBackwardWeight) needs.push_back({kBackwardInput, m, chunk});
  return needs;
}

std::optional<Product> product_of(const Action& action) {
  const auto [kind, m, chunk] = action;
  if (kind == kForward || is_send(kind)) return Product{kind, m, chunk};
  if (makes_input_gradient(kind)) return Product{kBackwardInput, m, chunk};
  return std::nullopt;
}

std::vector<size_t> progress(const Schedule& schedule,
                             const std::function<void(int rank, size_t index)>& visit) {
  const bool messages = has_messages(schedule);
  std::set<Product> made;
  std::vector<size_t> next(schedule.actions.size(), 0);
  const auto can = [&](const Action& action) {
    const std::vector<Product> needs = needs_of(schedule, messages, action);
    return std::all_of(needs.begin(), needs.end(),
                       [&](const Product& product) { return made.count(product) > 0; });
  };
  for (bool moved = true; moved;) {
    moved = false;
    for (int rank = 0; rank < schedule.stages(); ++rank) {
      const std::vector<Action>& list = schedule.actions[static_cast<size_t>(rank)];
      size_t& index = next[static_cast<size_t>(rank)];
      for (; index < list.size() && can(list[index]); ++index) {
        visit(rank, index);
        if (const auto product = product_of(list[index])) made.insert(*product);
        moved = true;
      }
    }
  }
  return next;
}

}  // namespace trireme::parallel::pipeline
