// A pipeline schedule is data: for each rank a list of actions over the chunks of the model that it
// holds.
//
// A chunk is a run of the model's units ("virtual stage" in Megatron-LM): chunk 0 begins with the
// embedding, the last one ends with the loss, and each gives its output to the next. A rank
// ("stage") holds one or several. Made by generators.h or read by csv.h; proven by validate.h;
// timed by simulate.h; shown by print.h; run by executor.h.
//
//   Schedule schedule = with_messages(make_schedule("1f1b", {.stages = 4, .micro_batches = 8}));
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace trireme::parallel::pipeline {

enum class ActionKind : uint8_t {
  kForward,         // F
  kBackward,        // BW: all of backward
  kBackwardInput,   // B: the gradient of the chunk's input; weight gradients wait
  kBackwardWeight,  // W: the weight gradients that waited
  kSendForward,     // SF: the chunk's output, to the rank of the next chunk
  kRecvForward,     // RF: the chunk's input, from the rank of the chunk before; posted, not awaited
  kSendBackward,    // SB: the gradient of the chunk's input, to the rank of the chunk before
  kRecvBackward,    // RB: that of its output, from the rank of the next chunk; posted, not awaited
};

struct Action {
  ActionKind kind = ActionKind::kForward;
  int micro_batch = 0;
  int chunk = 0;

  bool operator==(const Action&) const = default;
};

struct Schedule {
  std::string name;  // "1f1b"; of a file: its path
  int micro_batches = 0;
  std::vector<int> rank_of_chunk;            // placement
  std::vector<std::vector<Action>> actions;  // by rank, in the order in which it does them

  int stages() const { return static_cast<int>(actions.size()); }
  int chunks() const { return static_cast<int>(rank_of_chunk.size()); }
  // In the order of the model.
  std::vector<int> chunks_of(int rank) const;
  // Some weight gradient waits for an action of its own.
  bool splits_backward() const;
};

// "F", "BW", "SF", ...
const char* kind_text(ActionKind kind);
std::optional<ActionKind> kind_from_text(std::string_view text);
bool is_message(ActionKind kind);
bool is_send(ActionKind kind);
inline bool is_compute(ActionKind kind) {
  return !is_message(kind);
}
// BW or B: what makes the gradient of a chunk's input.
bool makes_input_gradient(ActionKind kind);
// BW or W: what makes weight gradients.
bool makes_weight_gradient(ActionKind kind);

// "F3" or, with the chunk, "F3.1": micro-batch 3, chunk 1.
std::string action_text(const Action& action, bool with_chunk);
// Of a schedule's action: with the chunk where the rank has several.
std::string action_text(const Schedule& schedule, int rank, const Action& action);

}  // namespace trireme::parallel::pipeline
