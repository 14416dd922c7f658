#include "trireme/comm/culprit.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>

#include "trireme/base/error.h"

namespace trireme::comm {
namespace {

// How far back an answer goes before the operation that was asked about.
constexpr uint64_t kHistory = 32;

constexpr std::array<const char*, 4> kKindNames = {"gone", "silent", "left", "spoke"};

std::string seconds(double s) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f s", s);
  return text;
}

// Ascending ranks: "0-3, 6".
std::string numbers(const std::vector<int>& ranks) {
  std::string text;
  for (size_t i = 0; i < ranks.size();) {
    size_t end = i + 1;
    while (end < ranks.size() && ranks[end] == ranks[end - 1] + 1) ++end;
    text += cat(i == 0 ? "" : ", ", ranks[i], end - i > 1 ? cat("-", ranks[end - 1]) : "");
    i = end;
  }
  return text;
}

const Operation* latest(const std::vector<Operation>& last) {
  const auto it =
      std::min_element(last.begin(), last.end(),
                       [](const Operation& a, const Operation& b) { return a.age_s < b.age_s; });
  return it == last.end() ? nullptr : &*it;
}

std::string state(const Operation& o) {
  return cat(o.name(), o.running ? ", still running after " : ", begun ", seconds(o.age_s),
             o.running ? "" : " ago and over");
}

// What a rank that has not come is doing instead.
std::string instead(const Answer& answer) {
  const Operation* last = latest(answer.last);
  if (last == nullptr) {
    return "it has begun no operation";
  }
  return answer.kind == Answer::Kind::kLeft ? cat("its last operation was ", last->name())
                                            : cat("its last operation is ", state(*last));
}

const Operation* at(const std::vector<Operation>& history, uint64_t seq) {
  const auto it = std::find_if(history.begin(), history.end(),
                               [seq](const Operation& o) { return o.seq == seq; });
  return it == history.end() ? nullptr : &*it;
}

// How far a rank has come in the group's collectives.
uint64_t progress(const Answer& answer, const std::string& group) {
  for (const Operation& o : answer.last) {
    if (o.group == group && !o.point_to_point()) {
      return o.seq;
    }
  }
  return 0;
}

bool same_purpose(const Operation& a, const Operation& b) {
  return a.tag == b.tag && mismatch(a, b).empty();
}

// Where their history leaves mine: the operation that they left out, or did instead of another.
// Tags do no matching, so they count only where they were alike before.
std::string left_out(const std::vector<Operation>& mine, const std::vector<Operation>& theirs) {
  bool alike = false;
  for (const Operation& o : theirs) {
    const Operation* here = at(mine, o.seq);
    if (here == nullptr) {
      continue;
    }
    if (!same_purpose(*here, o)) {
      if (!alike && o.seq > 1) {
        return "";
      }
      const Operation* next = at(mine, o.seq + 1);
      return next != nullptr && same_purpose(*next, o)
                 ? cat("; it left out ", here->name())
                 : cat("; it was in ", o.name(), " instead of ", here->name());
    }
    alike = true;
  }
  return "";
}

// Ranks in the same place, by what they do there; the most first.
struct Side {
  const Operation* operation;
  std::vector<int> ranks;
};
using Fits = std::function<bool(const Operation&, const Operation&)>;

std::vector<Side> sides_of(const std::map<int, const Operation*>& come, const Fits& fits) {
  std::vector<Side> sides;
  for (const auto& [rank, operation] : come) {
    const auto it = std::find_if(sides.begin(), sides.end(),
                                 [&](const Side& s) { return fits(*operation, *s.operation); });
    Side& side = it == sides.end() ? sides.emplace_back(Side{operation, {}}) : *it;
    side.ranks.push_back(rank);
  }
  std::stable_sort(sides.begin(), sides.end(),
                   [](const Side& a, const Side& b) { return a.ranks.size() > b.ranks.size(); });
  return sides;
}

std::string is_in(const Side& side) {
  return cat("rank ", numbers(side.ranks), side.ranks.size() == 1 ? " is in " : " are in ",
             side.operation->name());
}

// Two sides or more.
Failure odd_ones_out(const std::vector<Side>& sides) {
  Failure failure;
  const bool majority = sides[0].ranks.size() > sides[1].ranks.size();
  for (size_t i = majority ? 1 : 0; i < sides.size(); ++i) {
    failure.culprits.insert(failure.culprits.end(), sides[i].ranks.begin(), sides[i].ranks.end());
  }
  std::sort(failure.culprits.begin(), failure.culprits.end());
  if (majority) {
    failure.reason = cat("is in ", sides[1].operation->name(), " where ", is_in(sides[0]));
  } else {
    failure.reason = "differ in the same place:";
    for (size_t i = 0; i < sides.size(); ++i) {
      failure.reason += cat(i == 0 ? " " : ", ", is_in(sides[i]));
    }
  }
  const std::string what = mismatch(*sides[1].operation, *sides[0].operation);
  failure.reason += what.empty() ? "" : cat(": ", what);
  return failure;
}

bool has_history(const Answer& answer) {
  return answer.kind == Answer::Kind::kSpoke || answer.kind == Answer::Kind::kLeft;
}

// The ranks that have not come to the collective: those that are furthest behind.
Failure furthest_behind(const Operation& mine, int my_rank, const std::vector<int>& ranks,
                        const std::map<int, Answer>& answers) {
  Failure behind;
  uint64_t least = mine.seq;
  for (const int r : ranks) {
    const auto it = answers.find(r);
    if (r == my_rank || it == answers.end() || !has_history(it->second)) {
      continue;
    }
    const Answer& answer = it->second;
    const uint64_t seq = progress(answer, mine.group);
    if (seq < least) {
      least = seq;
      const auto me = answers.find(my_rank);
      behind = {{},
                cat(answer.kind == Answer::Kind::kLeft ? "ended in good order without "
                                                       : "has not reached ",
                    mine.kind, " #", mine.seq, " of ", mine.group, ": ", instead(answer),
                    me == answers.end() ? "" : left_out(me->second.history, answer.history))};
    }
    if (seq == least && seq < mine.seq) {
      behind.culprits.push_back(r);
    }
  }
  return behind;
}

constexpr char kNetwork[] =
    "all ranks answer and have come to the operation, yet it did not end: the network between them "
    "is slow or blocked (check comm.interface), or comm.timeout_s is too short";

Verdict between_two(const Operation& mine, int my_rank, const Answer& peer) {
  const Operation* theirs = at(peer.history, mine.seq);
  if (theirs == nullptr) {
    return {{{mine.peer}, cat("did not come to the other side of it: ", instead(peer))}};
  }
  if (const std::string what = mismatch(mine, *theirs); !what.empty()) {
    Failure differ{{my_rank, mine.peer},
                   cat("differ: rank ", my_rank, " is in ", mine.name(), ", rank ", mine.peer,
                       " in ", theirs->name(), ": ", what)};
    std::sort(differ.culprits.begin(), differ.culprits.end());
    return {differ, /*certain=*/true};
  }
  return {{{}, kNetwork}};
}

}  // namespace

Json to_json(const Answer& answer) {
  return {{"kind", kKindNames[static_cast<size_t>(answer.kind)]},
          {"last", to_json(answer.last)},
          {"history", to_json(answer.history)}};
}

Answer answer_from_json(const Json& json, const std::string& where) {
  const std::string& kind = require_string(json, "kind", where);
  const auto name = std::find(kKindNames.begin(), kKindNames.end(), kind);
  if (name == kKindNames.end()) {
    throw input_error(where, ": no kind of answer '", kind, "'");
  }
  return {static_cast<Answer::Kind>(name - kKindNames.begin()),
          operations_from_json(require_array(json, "last", where), where),
          operations_from_json(require_array(json, "history", where), where)};
}

std::vector<Operation> counterpart(const std::vector<Operation>& operations, const Operation& mine,
                                   int my_rank) {
  std::vector<Operation> out;
  for (const Operation& o : operations) {
    const bool belongs =
        o.group == mine.group && o.seq + kHistory > mine.seq && o.seq <= mine.seq + 1 &&
        (mine.point_to_point()
             ? o.peer == my_rank && o.kind == (mine.kind == "send" ? "recv" : "send")
             : !o.point_to_point());
    if (belongs) {
      out.push_back(o);
    }
  }
  return out;
}

Verdict find_culprit(const Operation& mine, int my_rank, const std::vector<int>& ranks,
                     const std::map<int, Answer>& answers) {
  Failure gone{{}, "is gone: it accepts no connections any more (it died, or ended early)"};
  Failure silent{{}, "is stuck: it does not answer (stopped, swapping, or its host hangs)"};
  std::map<int, const Operation*> come{{my_rank, &mine}};
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
    } else if (const Operation* theirs = at(answer.history, mine.seq)) {
      come[r] = theirs;
    }
  }
  if (!gone.culprits.empty()) {
    return {gone};
  }
  if (mine.point_to_point()) {
    const auto peer = answers.find(mine.peer);
    if (peer != answers.end() && has_history(peer->second)) {
      return between_two(mine, my_rank, peer->second);
    }
    return {silent.culprits.empty() ? Failure{{}, kNetwork} : silent};
  }
  const auto fits = [](const Operation& a, const Operation& b) { return mismatch(a, b).empty(); };
  if (const auto sides = sides_of(come, fits); sides.size() > 1) {
    return {odd_ones_out(sides), /*certain=*/come.size() == ranks.size()};
  }
  if (!silent.culprits.empty()) {
    return {silent};
  }
  if (const Failure behind = furthest_behind(mine, my_rank, ranks, answers);
      !behind.culprits.empty()) {
    return {behind};
  }
  // Tags do no matching, but say here who is elsewhere in its program.
  if (const auto sides = sides_of(come, same_purpose); sides.size() > 1) {
    return {odd_ones_out(sides)};
  }
  return {{{}, kNetwork}};
}

std::vector<std::string> last_operations_table(const std::map<int, Answer>& answers) {
  struct Row {
    std::vector<int> ranks;
    double longest_s = 0;
    bool running = false;
    bool timed = false;
  };
  std::vector<std::pair<std::string, Row>> rows;
  for (const auto& [rank, answer] : answers) {
    const Operation* last = latest(answer.last);
    Row row;
    std::string text;
    if (answer.kind == Answer::Kind::kGone) {
      text = "gone";
    } else if (answer.kind == Answer::Kind::kSilent) {
      text = "does not answer";
    } else {
      text = last == nullptr ? "no operation" : last->name();
      text += answer.kind == Answer::Kind::kLeft ? ", then it left" : "";
      row.timed = last != nullptr && answer.kind == Answer::Kind::kSpoke;
      row.running = row.timed && last->running;
      row.longest_s = row.timed ? last->age_s : 0;
    }
    const auto alike = std::find_if(rows.begin(), rows.end(), [&](const auto& other) {
      return other.first == text && other.second.running == row.running;
    });
    Row& place = alike == rows.end() ? rows.emplace_back(text, row).second : alike->second;
    place.ranks.push_back(rank);
    place.longest_s = std::max(place.longest_s, row.longest_s);
  }
  std::vector<std::string> lines;
  for (const auto& [text, row] : rows) {
    lines.push_back(cat("rank ", numbers(row.ranks), ": ", text,
                        !row.timed    ? ""
                        : row.running ? ", running for " + seconds(row.longest_s)
                                      : ", over, begun " + seconds(row.longest_s) + " ago"));
  }
  return lines;
}

}  // namespace trireme::comm
