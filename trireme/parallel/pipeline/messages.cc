#include "trireme/parallel/pipeline/messages.h"

#include <algorithm>
#include <map>

namespace trireme::parallel::pipeline {
namespace {

using enum ActionKind;

int rank_of(const Schedule& schedule, int chunk) {
  return schedule.rank_of_chunk[static_cast<size_t>(chunk)];
}

bool crosses(const Schedule& schedule, int chunk, int next) {
  return next >= 0 && next < schedule.chunks() &&
         rank_of(schedule, chunk) != rank_of(schedule, next);
}

// The receives of one rank, by the compute action before which they are posted.
class Posts {
 public:
  Posts(const Schedule& schedule, int rank) : lists_(list(schedule, rank).size()) {
    const std::vector<Action>& mine = list(schedule, rank);
    std::map<int, std::vector<Action>> sends;     // by sender, in its order
    std::map<int, std::map<int, size_t>> wanted;  // by sender: place in its order -> before which
    for (int sender = 0; sender < schedule.stages(); ++sender) {
      sends[sender] = sends_to(schedule, sender, rank);
    }
    for (size_t i = 0; i < mine.size(); ++i) {
      const auto recv = recv_before(schedule, mine[i]);
      if (!recv) continue;
      const int sender = peer_of(schedule, *recv);
      const std::vector<Action>& theirs = sends[sender];
      const auto found = std::find(theirs.begin(), theirs.end(), other_end(*recv));
      if (found == theirs.end()) continue;
      wanted[sender][static_cast<int>(found - theirs.begin())] = i > 0 ? i - 1 : 0;
    }
    for (auto& [sender, places] : wanted) {
      size_t latest = mine.size() - 1;
      for (auto it = places.rbegin(); it != places.rend(); ++it) {
        latest = it->second = std::min(latest, it->second);
      }
      for (const auto& [place, before] : places) {
        lists_[before].push_back(other_end(sends[sender][static_cast<size_t>(place)]));
      }
    }
  }

  const std::vector<Action>& before(size_t index) const { return lists_[index]; }

 private:
  static const std::vector<Action>& list(const Schedule& schedule, int rank) {
    return schedule.actions[static_cast<size_t>(rank)];
  }
  static std::vector<Action> sends_to(const Schedule& schedule, int sender, int rank) {
    std::vector<Action> sends;
    for (const Action& action : list(schedule, sender)) {
      const auto send = send_after(schedule, action);
      if (send && peer_of(schedule, *send) == rank) sends.push_back(*send);
    }
    return sends;
  }
  std::vector<std::vector<Action>> lists_;
};

}  // namespace

bool has_messages(const Schedule& schedule) {
  return std::any_of(schedule.actions.begin(), schedule.actions.end(), [](const auto& list) {
    return std::any_of(list.begin(), list.end(),
                       [](const Action& action) { return is_message(action.kind); });
  });
}

std::optional<Action> send_after(const Schedule& schedule, const Action& action) {
  const auto [kind, m, chunk] = action;
  if (kind == kForward && crosses(schedule, chunk, chunk + 1))
    return Action{kSendForward, m, chunk};
  if (makes_input_gradient(kind) && crosses(schedule, chunk, chunk - 1)) {
    return Action{kSendBackward, m, chunk};
  }
  return std::nullopt;
}

std::optional<Action> recv_before(const Schedule& schedule, const Action& action) {
  const auto [kind, m, chunk] = action;
  if (kind == kForward && crosses(schedule, chunk, chunk - 1))
    return Action{kRecvForward, m, chunk};
  if (makes_input_gradient(kind) && crosses(schedule, chunk, chunk + 1)) {
    return Action{kRecvBackward, m, chunk};
  }
  return std::nullopt;
}

int peer_of(const Schedule& schedule, const Action& message) {
  const bool next = message.kind == kSendForward || message.kind == kRecvBackward;
  return rank_of(schedule, message.chunk + (next ? 1 : -1));
}

Action other_end(const Action& message) {
  const auto [kind, m, chunk] = message;
  switch (kind) {
    case kSendForward:
      return {kRecvForward, m, chunk + 1};
    case kRecvForward:
      return {kSendForward, m, chunk - 1};
    case kSendBackward:
      return {kRecvBackward, m, chunk - 1};
    default:
      return {kSendBackward, m, chunk + 1};
  }
}

Schedule with_messages(Schedule schedule) {
  if (has_messages(schedule)) return schedule;
  std::vector<std::vector<Action>> lists;
  for (int rank = 0; rank < schedule.stages(); ++rank) {
    const std::vector<Action>& compute = schedule.actions[static_cast<size_t>(rank)];
    const Posts posts(schedule, rank);
    std::vector<Action>& list = lists.emplace_back();
    for (size_t i = 0; i < compute.size(); ++i) {
      const std::vector<Action>& posted = posts.before(i);
      list.insert(list.end(), posted.begin(), posted.end());
      list.push_back(compute[i]);
      if (const auto send = send_after(schedule, compute[i])) list.push_back(*send);
    }
  }
  schedule.actions = std::move(lists);
  return schedule;
}

}  // namespace trireme::parallel::pipeline
