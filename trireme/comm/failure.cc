#include "trireme/comm/failure.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "trireme/base/error.h"

namespace trireme::comm {
namespace {

std::string seconds(double s) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f s", s);
  return text;
}

// What a rank that has not come to `mine` is doing instead.
std::string instead(const std::vector<Operation>& last) {
  if (last.empty()) {
    return "it has begun no operation";
  }
  const Operation* latest = &last.front();
  for (const Operation& o : last) {
    latest = o.age_s < latest->age_s ? &o : latest;
  }
  return cat("its last operation is ", latest->name(),
             latest->running ? ", still running after " : ", begun ", seconds(latest->age_s),
             latest->running ? "" : " ago and over");
}

const Operation* same_series(const std::vector<Operation>& last, const Operation& mine) {
  for (const Operation& o : last) {
    if (o.group == mine.group && !o.point_to_point()) {
      return &o;
    }
  }
  return nullptr;
}

}  // namespace

std::string to_json(const Failure& failure) {
  return nlohmann::json{{"culprits", failure.culprits}, {"reason", failure.reason}}.dump(
      -1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::optional<Failure> failure_from_json(const std::string& text) {
  try {
    const nlohmann::json json = nlohmann::json::parse(text);
    Failure failure;
    json.at("culprits").get_to(failure.culprits);
    json.at("reason").get_to(failure.reason);
    return failure;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

std::string describe(const Failure& failure, const std::vector<Peer>& peers, int my_rank,
                     const Operation* operation) {
  const std::string culprits = list_ranks(
      failure.culprits, [&](int rank) { return peers[static_cast<size_t>(rank)].name(); });
  std::string text = culprits.empty() ? failure.reason : cat(culprits, " ", failure.reason);
  if (operation != nullptr) {
    text += cat("; ", peers[static_cast<size_t>(my_rank)].name(), " was in ", operation->name());
  }
  return text;
}

Failure find_culprit(const Operation& mine, int my_rank, const std::vector<int>& ranks,
                     const std::map<int, Answer>& answers) {
  Failure gone{{}, "died: it does not accept connections any more"};
  Failure silent{{}, "is stuck: it does not answer (stopped, swapping, or its host hangs)"};
  Failure behind;
  uint64_t least_seq = mine.seq;
  for (const int r : ranks) {
    const auto it = answers.find(r);
    if (r == my_rank || it == answers.end()) {
      continue;
    }
    const Answer& answer = it->second;
    if (answer.kind == Answer::Kind::kGone) {
      gone.culprits.push_back(r);
    } else if (answer.kind == Answer::Kind::kSilent) {
      silent.culprits.push_back(r);
    } else if (mine.point_to_point()) {
      if (r == mine.peer) {
        behind = {{r}, cat("did not come to the other side of it: ", instead(answer.last))};
      }
    } else {
      const Operation* theirs = same_series(answer.last, mine);
      const uint64_t seq = theirs == nullptr ? 0 : theirs->seq;
      if (seq < least_seq) {
        least_seq = seq;
        behind = {{},
                  cat("has not reached ", mine.kind, " #", mine.seq, " of ", mine.group, ": ",
                      instead(answer.last))};
      }
      if (seq == least_seq && seq < mine.seq) {
        behind.culprits.push_back(r);
      }
    }
  }
  for (const Failure* failure : {&gone, &silent, &behind}) {
    if (!failure->culprits.empty()) {
      return *failure;
    }
  }
  return {{},
          "all ranks answer and have come to the operation, yet it did not end: the network "
          "between them is slow or "
          "blocked (check comm.interface), or comm.timeout_s is too short"};
}

bool FailureBoard::report(const Failure& failure) {
  {
    const std::lock_guard lock(mutex_);
    if (failure_) {
      return false;
    }
    failure_ = failure;
  }
  changed_.notify_all();
  const std::lock_guard calls(calls_mutex_);
  for (const auto& [id, f] : subscribers_) {
    f();
  }
  return true;
}

std::optional<Failure> FailureBoard::get() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

std::optional<Failure> FailureBoard::wait_for(std::chrono::milliseconds time) const {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, time, [&] { return failure_.has_value(); });
  return failure_;
}

int FailureBoard::subscribe(std::function<void()> f) {
  const std::lock_guard calls(calls_mutex_);
  if (get()) {
    f();
  }
  subscribers_.emplace(next_id_, std::move(f));
  return next_id_++;
}

void FailureBoard::unsubscribe(int id) {
  const std::lock_guard calls(calls_mutex_);
  subscribers_.erase(id);
}

}  // namespace trireme::comm
