#include "trireme/parallel/pipeline/schedule.h"

#include <algorithm>
#include <array>

namespace trireme::parallel::pipeline {
namespace {

constexpr std::array<const char*, 8> kKinds = {"F", "BW", "B", "W", "SF", "RF", "SB", "RB"};

}  // namespace

std::vector<int> Schedule::chunks_of(int rank) const {
  std::vector<int> mine;
  for (int chunk = 0; chunk < chunks(); ++chunk) {
    if (rank_of_chunk[static_cast<size_t>(chunk)] == rank) mine.push_back(chunk);
  }
  return mine;
}

bool Schedule::splits_backward() const {
  return std::any_of(actions.begin(), actions.end(), [](const std::vector<Action>& list) {
    return std::any_of(list.begin(), list.end(), [](const Action& action) {
      return action.kind == ActionKind::kBackwardWeight;
    });
  });
}

const char* kind_text(ActionKind kind) {
  return kKinds[static_cast<size_t>(kind)];
}

std::optional<ActionKind> kind_from_text(std::string_view text) {
  const auto* found = std::find(kKinds.begin(), kKinds.end(), text);
  if (found == kKinds.end()) return std::nullopt;
  return static_cast<ActionKind>(found - kKinds.begin());
}

bool is_message(ActionKind kind) {
  return kind >= ActionKind::kSendForward;
}

bool is_send(ActionKind kind) {
  return kind == ActionKind::kSendForward || kind == ActionKind::kSendBackward;
}

bool makes_input_gradient(ActionKind kind) {
  return kind == ActionKind::kBackward || kind == ActionKind::kBackwardInput;
}

bool makes_weight_gradient(ActionKind kind) {
  return kind == ActionKind::kBackward || kind == ActionKind::kBackwardWeight;
}

std::string action_text(const Action& action, bool with_chunk) {
  std::string text = kind_text(action.kind) + std::to_string(action.micro_batch);
  return with_chunk ? text + "." + std::to_string(action.chunk) : text;
}

std::string action_text(const Schedule& schedule, int rank, const Action& action) {
  const auto& placement = schedule.rank_of_chunk;
  return action_text(action, std::count(placement.begin(), placement.end(), rank) > 1);
}

}  // namespace trireme::parallel::pipeline
