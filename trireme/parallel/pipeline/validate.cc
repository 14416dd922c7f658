#include "trireme/parallel/pipeline/validate.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "trireme/base/error.h"
#include "trireme/parallel/pipeline/messages.h"
#include "trireme/parallel/pipeline/progress.h"

namespace trireme::parallel::pipeline {
namespace {

using enum ActionKind;

using Key = std::tuple<ActionKind, int, int>;
Key key_of(const Action& action) {
  return {action.kind, action.micro_batch, action.chunk};
}

class Validator {
 public:
  Validator(const Schedule& schedule, const ValidateOptions& options)
      : schedule_(schedule), options_(options), messages_(has_messages(schedule)) {}

  std::optional<Fault> run() {
    if (auto fault = shape()) return fault;
    for (int rank = 0; rank < schedule_.stages(); ++rank) {
      if (auto fault = cells(rank)) return fault;
      if (auto fault = complete(rank)) return fault;
    }
    if (messages_) {
      for (int from = 0; from < schedule_.stages(); ++from) {
        for (int to = 0; to < schedule_.stages(); ++to) {
          if (auto fault = same_order(from, to)) return fault;
        }
      }
    }
    return ends();
  }

 private:
  const std::vector<Action>& list(int rank) const {
    return schedule_.actions[static_cast<size_t>(rank)];
  }
  std::string text(int rank, const Action& action) const {
    return action_text(schedule_, rank, action);
  }

  std::optional<Fault> shape() const {
    if (schedule_.actions.empty()) return Fault{0, -1, "there are no ranks"};
    if (schedule_.micro_batches < 1) return Fault{0, -1, "there are no micro-batches"};
    if (schedule_.chunks() < 1) return Fault{0, -1, "there are no chunks"};
    for (int chunk = 0; chunk < schedule_.chunks(); ++chunk) {
      const int rank = schedule_.rank_of_chunk[static_cast<size_t>(chunk)];
      if (rank >= 0 && rank < schedule_.stages()) continue;
      return Fault{0, -1,
                   cat("chunk ", chunk, " is placed on rank ", rank, " of ", schedule_.stages())};
    }
    for (int rank = 0; rank < schedule_.stages(); ++rank) {
      if (schedule_.chunks_of(rank).empty()) return Fault{rank, -1, "no chunk is placed on it"};
    }
    return std::nullopt;
  }

  // Each action by itself and against those before it on its rank.
  std::optional<Fault> cells(int rank) {
    std::map<Key, int> seen;
    std::map<int, int> inputs, weights;  // by chunk: micro-batches whose gradient was added
    int held = 0;
    const auto has = [&](ActionKind kind, const Action& action) {
      return seen.count({kind, action.micro_batch, action.chunk}) > 0;
    };
    for (size_t i = 0; i < list(rank).size(); ++i) {
      const Action& action = list(rank)[i];
      const auto fault = [&](const auto&... parts) {
        return Fault{rank, static_cast<int>(i), cat(parts...)};
      };
      const auto again = [&](ActionKind kind) {
        return cat(text(rank, {kind, action.micro_batch, action.chunk}), " must come before it");
      };
      if (action.chunk < 0 || action.chunk >= schedule_.chunks()) {
        return fault("there are chunks 0 to ", schedule_.chunks() - 1);
      }
      if (const int home = schedule_.rank_of_chunk[static_cast<size_t>(action.chunk)];
          home != rank) {
        return fault("chunk ", action.chunk, " is placed on rank ", home);
      }
      if (action.micro_batch < 0 || action.micro_batch >= schedule_.micro_batches) {
        return fault("there are micro-batches 0 to ", schedule_.micro_batches - 1);
      }
      if (!seen.emplace(key_of(action), static_cast<int>(i)).second) {
        return fault("it is there twice");
      }
      switch (action.kind) {
        case kForward:
          ++held;
          if (options_.max_held > 0 && held > options_.max_held) {
            return fault("rank ", rank, " would hold ", held, " activations, and may hold ",
                         options_.max_held);
          }
          break;
        case kBackward:
        case kBackwardInput: {
          if (has(action.kind == kBackward ? kBackwardInput : kBackward, action)) {
            return fault("backward of this micro-batch is there as BW and as B");
          }
          if (!has(kForward, action)) return fault(again(kForward));
          if (inputs[action.chunk] != action.micro_batch) {
            return fault("gradients are added in the order of the micro-batches: micro-batch ",
                         inputs[action.chunk], " is next");
          }
          ++inputs[action.chunk];
          if (action.kind == kBackwardInput) break;
          if (auto wrong = in_order(weights, action)) return fault(*wrong);
          --held;
          break;
        }
        case kBackwardWeight:
          if (has(kBackward, action)) return fault("BW of this micro-batch did it already");
          if (!has(kBackwardInput, action)) return fault(again(kBackwardInput));
          if (auto wrong = in_order(weights, action)) return fault(*wrong);
          --held;
          break;
        default:
          if (auto wrong = message(rank, action, seen)) return fault(*wrong);
      }
      if (messages_ && is_compute(action.kind)) {
        const auto recv = recv_before(schedule_, action);
        if (recv && seen.count(key_of(*recv)) == 0) {
          return fault(text(rank, *recv), " must come before it");
        }
      }
    }
    return std::nullopt;
  }

  static std::optional<std::string> in_order(std::map<int, int>& weights, const Action& action) {
    if (weights[action.chunk] != action.micro_batch) {
      return cat("weight gradients are added in the order of the micro-batches: micro-batch ",
                 weights[action.chunk], " is next");
    }
    ++weights[action.chunk];
    return std::nullopt;
  }

  // A send or a receive: of something that crosses, after what makes it, before what needs it.
  std::optional<std::string> message(int rank, const Action& action,
                                     const std::map<Key, int>& seen) const {
    const auto [kind, m, chunk] = action;
    const bool forward = kind == kSendForward || kind == kRecvForward;
    const Action compute{forward ? kForward : kBackwardInput, m, chunk};
    const auto wanted =
        is_send(kind) ? send_after(schedule_, compute) : recv_before(schedule_, compute);
    if (!wanted) return "nothing is to be " + std::string(is_send(kind) ? "sent" : "received");
    const bool done =
        seen.count(key_of(compute)) > 0 || (!forward && seen.count({kBackward, m, chunk}) > 0);
    if (is_send(kind) && !done) return text(rank, compute) + " must come before it";
    if (!is_send(kind) && done) return "it must come before " + text(rank, compute);
    return std::nullopt;
  }

  std::optional<Fault> complete(int rank) const {
    std::map<Key, int> seen;
    for (const Action& action : list(rank)) seen.emplace(key_of(action), 0);
    const auto missing = [&](const Action& action) {
      return Fault{rank, -1, cat(text(rank, action), " is not there")};
    };
    for (const int chunk : schedule_.chunks_of(rank)) {
      for (int m = 0; m < schedule_.micro_batches; ++m) {
        const auto has = [&](ActionKind kind) { return seen.count({kind, m, chunk}) > 0; };
        if (!has(kForward)) return missing({kForward, m, chunk});
        if (!has(kBackward) && !has(kBackwardInput)) return missing({kBackward, m, chunk});
        if (!has(kBackward) && !has(kBackwardWeight)) return missing({kBackwardWeight, m, chunk});
        if (!messages_) continue;
        for (const ActionKind kind : {kForward, kBackwardInput}) {
          const auto send = send_after(schedule_, {kind, m, chunk});
          if (send && !has(send->kind)) return missing(*send);
        }
      }
    }
    return std::nullopt;
  }

  // What `from` sends to `to`, against what that one receives from it.
  std::optional<Fault> same_order(int from, int to) const {
    const auto messages = [&](int rank, int peer, bool sends) {
      std::vector<std::pair<int, Action>> found;
      for (size_t i = 0; i < list(rank).size(); ++i) {
        const Action& action = list(rank)[i];
        if (is_message(action.kind) && is_send(action.kind) == sends &&
            peer_of(schedule_, action) == peer) {
          found.emplace_back(static_cast<int>(i), action);
        }
      }
      return found;
    };
    const auto sent = messages(from, to, true), received = messages(to, from, false);
    for (size_t i = 0; i < std::min(sent.size(), received.size()); ++i) {
      const Action want = other_end(sent[i].second);
      if (received[i].second == want) continue;
      return Fault{to, received[i].first,
                   cat("rank ", from, "'s message number ", i + 1, " to rank ", to, " is ",
                       text(from, sent[i].second), ", so ", text(to, want), " must stand here")};
    }
    // complete() and cells() have seen to it that all are there on both sides.
    return std::nullopt;
  }

  std::optional<Fault> ends() const {
    const std::vector<size_t> done = progress(schedule_, [](int, size_t) {});
    for (int rank = 0; rank < schedule_.stages(); ++rank) {
      const size_t index = done[static_cast<size_t>(rank)];
      if (index == list(rank).size()) continue;
      const Action& action = list(rank)[index];
      for (const Product& need : needs_of(schedule_, messages_, action)) {
        // Of the same rank: made later, or never come to.
        const Action before{need.kind, need.micro_batch, need.chunk};
        if (is_compute(need.kind) && comes_later(rank, index, before)) {
          return Fault{rank, static_cast<int>(index), text(rank, before) + " must come before it"};
        }
      }
      std::string waits;
      for (int other = 0; other < schedule_.stages(); ++other) {
        const size_t stuck = done[static_cast<size_t>(other)];
        if (other == rank || stuck == list(other).size()) continue;
        waits += cat(waits.empty() ? " (" : ", ", "rank ", other, " at ",
                     text(other, list(other)[stuck]));
      }
      return Fault{rank, static_cast<int>(index),
                   cat("deadlock: it waits for ever for what another rank makes later",
                       waits.empty() ? "" : waits + ")")};
    }
    return std::nullopt;
  }

  bool comes_later(int rank, size_t index, const Action& action) const {
    const auto begin = list(rank).begin() + static_cast<std::ptrdiff_t>(index);
    return std::any_of(begin, list(rank).end(), [&](const Action& other) {
      return product_of(other) == product_of(action) && is_compute(other.kind);
    });
  }

  const Schedule& schedule_;
  const ValidateOptions& options_;
  bool messages_;
};

}  // namespace

std::optional<Fault> find_fault(const Schedule& schedule, const ValidateOptions& options) {
  return Validator(schedule, options).run();
}

void validate(const Schedule& schedule, const ValidateOptions& options) {
  const auto fault = find_fault(schedule, options);
  if (!fault) return;
  const std::string cell =
      fault->index < 0 ? ""
                       : cat(", action ", fault->index + 1, " (",
                             action_text(schedule, fault->rank,
                                         schedule.actions[static_cast<size_t>(fault->rank)]
                                                         [static_cast<size_t>(fault->index)]),
                             ")");
  throw input_error("pipeline schedule ", schedule.name, ": rank ", fault->rank, cell, ": ",
                    fault->message);
}

}  // namespace trireme::parallel::pipeline
