#include "trireme/comm/liveness.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "trireme/base/error.h"
#include "trireme/base/json.h"
#include "trireme/base/log.h"
#include "trireme/comm/flight_dump.h"
#include "trireme/comm/rank_calls.h"

namespace trireme::comm {
namespace {

using Clock = std::chrono::steady_clock;
using Millis = std::chrono::milliseconds;

constexpr Millis kConnectTime{10000};
constexpr Millis kAskAgainTime{50};
constexpr size_t kMaxLine = 1 << 20;
constexpr size_t kGoodbyeOperations = 128;

// Lines: the run's greeting, then one of these, then what it takes, then \n.
constexpr char kWatch = 'W';     // rank: this connection is kept; its end is that rank's end
constexpr char kGoodbye = 'B';   // on a kept connection: an orderly leave; an Answer
constexpr char kFailed = 'F';    // on a kept connection: leaves with a failure
constexpr char kReport = 'R';    // a failure; answered like a question
constexpr char kQuestion = 'Q';  // asker and operation; answered by an Answer and those of who left

std::vector<int> all_but(int rank, size_t size) {
  std::vector<int> out;
  for (int r = 0; r < static_cast<int>(size); ++r) {
    if (r != rank) {
      out.push_back(r);
    }
  }
  return out;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace

Liveness::Liveness(LivenessOptions options, Fd listener)
    : options_(std::move(options)),
      greeting_("trireme " + options_.run + " "),
      listener_(std::move(listener)),
      wake_(eventfd(0, EFD_CLOEXEC)) {
  const auto next_rank = static_cast<size_t>(rank() + 1) % peers().size();
  const Peer& next = peers()[next_rank];
  Fd socket = connect_to(next.address, next.port, kConnectTime);
  if (!socket || !send_text(socket, cat(greeting_, kWatch, rank(), '\n'), kConnectTime)) {
    throw run_error(next.name(), " joined but cannot be reached at ", next.address, ":", next.port,
                    "; check comm.interface and the firewall between the hosts");
  }
  keep_alive(socket);
  connections_.push_back({std::move(socket), "", next.rank});
  thread_ = std::thread([this] { this->run(); });
}

Liveness::~Liveness() {
  const uint64_t one = 1;
  if (write(wake_.get(), &one, sizeof(one)) != sizeof(one)) {
    // Cannot happen for an eventfd at zero; the thread would then end at its next event.
  }
  thread_.join();
  if (reporter_.joinable()) {
    reporter_.join();
  }
}

void Liveness::run() {
  for (;;) {
    std::vector<pollfd> events{{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    for (const Connection& c : connections_) {
      events.push_back({c.socket.get(), POLLIN, 0});
    }
    if (poll(events.data(), events.size(), -1) < 0) {
      continue;  // EINTR
    }
    if (events[0].revents != 0) {
      say_goodbye();
      return;
    }
    for (size_t i = connections_.size();
         i-- > 0;) {  // backwards: closing takes the last one's place
      if (events[i + 2].revents != 0 && read_from(connections_[i]) == Fate::kClose) {
        std::swap(connections_[i], connections_.back());
        connections_.pop_back();
      }
    }
    if (events[1].revents != 0) {
      accept_one();
    }
  }
}

void Liveness::accept_one() {
  Fd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (socket) {
    keep_alive(socket);
    connections_.push_back({std::move(socket), "", -1});
  }
}

Liveness::Fate Liveness::read_from(Connection& connection) {
  char buffer[4096];
  const ssize_t n = recv(connection.socket.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
    return Fate::kKeep;
  }
  if (n <= 0) {
    if (connection.watches >= 0) {
      lost({{connection.watches}, "died: its connection closed without a goodbye"});
    }
    return Fate::kClose;
  }
  connection.received.append(buffer, static_cast<size_t>(n));
  size_t end = 0;
  while ((end = connection.received.find('\n')) != std::string::npos) {
    const std::string line = connection.received.substr(0, end);
    connection.received.erase(0, end + 1);
    if (!line.starts_with(greeting_) || line.size() == greeting_.size() ||
        take_line(connection, line.substr(greeting_.size())) == Fate::kClose) {
      return Fate::kClose;
    }
  }
  return connection.received.size() > kMaxLine ? Fate::kClose : Fate::kKeep;
}

Liveness::Fate Liveness::take_line(Connection& connection, const std::string& line) {
  const std::string rest = line.substr(1);
  if (line[0] == kWatch) {
    const int size = static_cast<int>(peers().size());
    const int before = (rank() + size - 1) % size;
    if (rest != std::to_string(before)) {
      return Fate::kClose;
    }
    connection.watches = before;
    return Fate::kKeep;
  }
  try {
    const Json json = parse_json(rest, "line");
    if (line[0] == kFailed && connection.watches >= 0) {
      lost(failure_from_json(json, "line"));
    } else if (line[0] == kGoodbye && connection.watches >= 0) {
      Answer answer = answer_from_json(json, "line");
      answer.kind = Answer::Kind::kLeft;
      const std::lock_guard lock(mutex_);
      left_[connection.watches] = std::move(answer);
    } else if (line[0] == kReport) {
      board_.report(failure_from_json(json, "line"));
      send_text(connection.socket, cat(speak(nullptr, -1), '\n'), kAnswerTime);
    } else if (line[0] == kQuestion) {
      const auto about = operations_from_json(require_array(json, "about", "line"), "line");
      const auto asker = static_cast<int>(require_int(json, "asker", "line"));
      send_text(connection.socket, cat(speak(&about.at(0), asker), '\n'), kAnswerTime);
    }
  } catch (const std::exception&) {
    // Not what we would write.
  }
  return Fate::kClose;
}

// What this rank says of itself and of those that it saw leave; with the operations that belong to
// `about`, one of `asker`.
std::string Liveness::speak(const Operation* about, int asker) const {
  Answer mine{Answer::Kind::kSpoke, recorder()->last(), {}};
  if (about != nullptr) {
    mine.history = counterpart(recorder()->all(), *about, asker);
  }
  Json left = Json::array();
  const std::lock_guard lock(mutex_);
  for (const auto& [rank, answer] : left_) {
    Answer told = answer;
    told.history =
        about == nullptr ? std::vector<Operation>{} : counterpart(answer.history, *about, asker);
    left.push_back({{"rank", rank}, {"answer", to_json(told)}});
  }
  return dump_json({{"answer", to_json(mine)}, {"left", left}});
}

void Liveness::lost(const Failure& failure) {
  if (!board_.reported() && !reporter_.joinable()) {
    reporter_ = std::thread([this, failure] { report_to_all(failure, {}); });
  }
}

void Liveness::report_to_all(Failure failure, std::map<int, Answer> known) {
  failure.reporter = failure.reporter < 0 ? rank() : failure.reporter;
  // Others first: once the board shows it, this rank may end, and its end must not be taken for
  // the cause.
  const FailureBoard::Hold hold(board_);
  if (!board_.report(failure)) {
    return;
  }
  std::vector<int> others = all_but(rank(), peers().size());
  std::erase_if(others, [&](int r) {
    const bool culprit =
        std::find(failure.culprits.begin(), failure.culprits.end(), r) != failure.culprits.end();
    const auto it = known.find(r);
    return culprit && (it == known.end() || it->second.kind != Answer::Kind::kSpoke);
  });
  for (auto& [rank, answer] :
       call_ranks(peers(), others, cat(greeting_, kReport, dump_json(to_json(failure)), '\n'))) {
    known[rank] = std::move(answer);
  }
  for (const int culprit : failure.culprits) {
    known.try_emplace(culprit, Answer{Answer::Kind::kGone, {}, {}});
  }
  known[rank()] = {Answer::Kind::kSpoke, recorder()->last(), {}};
  const std::lock_guard lock(mutex_);
  answers_ = std::move(known);
}

void Liveness::say_goodbye() {
  std::string line;
  if (failed_) {
    const Failure own{{rank()}, "stopped with an error of its own (see its output)", rank()};
    line = cat(greeting_, kFailed, dump_json(to_json(board_.get().value_or(own))), '\n');
  } else {
    Answer answer{Answer::Kind::kLeft, recorder()->last(), recorder()->all()};
    answer.history.erase(answer.history.begin(),
                         answer.history.end() - static_cast<ptrdiff_t>(std::min(
                                                    answer.history.size(), kGoodbyeOperations)));
    line = cat(greeting_, kGoodbye, dump_json(to_json(answer)), '\n');
  }
  for (const Connection& c : connections_) {
    if (c.watches >= 0) {
      send_text(c.socket, line, kAnswerTime);
      shutdown(c.socket.get(), SHUT_WR);
    }
  }
}

std::map<int, Answer> Liveness::ask(const Operation& mine, const std::vector<int>& ranks) const {
  std::vector<int> others = ranks;
  std::erase(others, rank());
  const Json question = {{"asker", rank()}, {"about", to_json({mine})}};
  auto answers = call_ranks(peers(), others, cat(greeting_, kQuestion, dump_json(question), '\n'));
  {
    const std::lock_guard lock(mutex_);
    std::map<int, Answer> left = left_;
    for (auto& [rank, answer] : left) {
      answer.history = counterpart(answer.history, mine, this->rank());
    }
    fill_in_left(answers, left);
  }
  answers[rank()] = {Answer::Kind::kSpoke, recorder()->last(),
                     mine.point_to_point() ? std::vector<Operation>{mine}
                                           : counterpart(recorder()->all(), mine, rank())};
  return answers;
}

Failure Liveness::find_out(const Operation& mine, const std::vector<int>& ranks,
                           const Finding& finding) {
  const auto end = Clock::now() + finding.patience;
  for (;;) {
    if (board_.reported()) {
      if (const auto failure = board_.wait_for(2 * kAnswerTime)) {
        return *failure;
      }
    }
    auto answers = ask(mine, ranks);
    Verdict verdict = find_culprit(mine, rank(), ranks, answers);
    if (verdict.certain || Clock::now() >= end) {
      verdict.failure.reason += finding.noticed;
      report_to_all(verdict.failure, std::move(answers));
    } else {
      board_.wait_for(kAskAgainTime);
    }
  }
}

void Liveness::conclude(const Failure& failure) {
  std::call_once(concluded_, [&] {
    std::map<int, Answer> answers;
    if (failure.reporter == rank()) {
      const std::lock_guard lock(mutex_);
      answers = answers_;
    }
    if (!options_.flight_dir.empty()) {
      try {
        write_flight_dump(options_.flight_dir, {rank(), utc_now(), peers(), failure,
                                                recorder()->all(), recorder()->last(), answers});
      } catch (const Error& e) {
        log_warn(cat("the flight dump is not written: ", e.what()));
      }
    }
    if (!answers.empty()) {
      log_error("the run has failed; what every rank did last:");
      for (const std::string& row : last_operations_table(answers)) {
        log_error("  " + row);
      }
    }
  });
}

}  // namespace trireme::comm
