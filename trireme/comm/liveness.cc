#include "trireme/comm/liveness.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "trireme/base/error.h"
#include "trireme/base/json.h"

namespace trireme::comm {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kConnectTime{10000};
constexpr std::chrono::milliseconds kAnswerTime{500};
constexpr size_t kMaxLine = 1 << 20;

// Lines: the run's greeting, then one of these, then what it takes, then \n.
constexpr char kWatch = 'W';     // rank: this connection is kept; its end is that rank's end
constexpr char kGoodbye = 'B';   // on a kept connection: an orderly leave
constexpr char kFailed = 'F';    // on a kept connection: leaves with a failure, as JSON
constexpr char kReport = 'R';    // failure as JSON
constexpr char kQuestion = 'Q';  // answered by the last operations as JSON, then closed

std::vector<int> all_but(int rank, size_t size) {
  std::vector<int> out;
  for (int r = 0; r < static_cast<int>(size); ++r) {
    if (r != rank) {
      out.push_back(r);
    }
  }
  return out;
}

// What a peer answered; empty when it is not what we would write.
std::vector<Operation> operations_of(const std::string& text) {
  try {
    return operations_from_json(parse_json(text, "answer"), "answer");
  } catch (const Error&) {
    return {};
  }
}

}  // namespace

Liveness::Liveness(int rank, std::vector<Peer> peers, Fd listener, const std::string& run,
                   std::shared_ptr<FlightRecorder> recorder)
    : rank_(rank),
      peers_(std::move(peers)),
      greeting_("trireme " + run + " "),
      recorder_(std::move(recorder)),
      listener_(std::move(listener)),
      wake_(eventfd(0, EFD_CLOEXEC)) {
  const Peer& next = peers_[static_cast<size_t>((rank_ + 1) % static_cast<int>(peers_.size()))];
  Fd socket = connect_to(next.address, next.port, kConnectTime);
  if (!socket || !send_text(socket, cat(greeting_, kWatch, rank_, '\n'), kConnectTime)) {
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
      lost(connection.watches, "died: its connection closed without a goodbye");
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
  switch (line[0]) {
    case kWatch: {
      const int before =
          (rank_ + static_cast<int>(peers_.size()) - 1) % static_cast<int>(peers_.size());
      if (rest != std::to_string(before)) {
        return Fate::kClose;
      }
      connection.watches = before;
      return Fate::kKeep;
    }
    case kFailed:
      if (const auto failure = failure_from_json(rest); failure && connection.watches >= 0) {
        report_to_all(*failure);
      }
      return Fate::kClose;
    case kReport:
      if (const auto failure = failure_from_json(rest)) {
        board_.report(*failure);
      }
      return Fate::kClose;
    case kQuestion:
      send_text(connection.socket, dump_json(to_json(recorder_->last())) + "\n", kAnswerTime);
      return Fate::kClose;
    default:  // kGoodbye, or nothing we know
      return Fate::kClose;
  }
}

void Liveness::lost(int rank, const std::string& reason) {
  report_to_all({{rank}, reason});
}

void Liveness::report_to_all(const Failure& failure) {
  if (board_.get()) {
    return;
  }
  std::vector<int> others = all_but(rank_, peers_.size());
  std::erase_if(others, [&](int r) {
    return std::find(failure.culprits.begin(), failure.culprits.end(), r) != failure.culprits.end();
  });
  // Others first: once the board has it, this rank may end, and its end must not be taken for the
  // cause.
  tell(others, cat(greeting_, kReport, to_json(failure), '\n'), false);
  board_.report(failure);
}

void Liveness::say_goodbye() {
  std::string line = cat(greeting_, kGoodbye, '\n');
  if (failed_) {
    const Failure own{{rank_}, "stopped with an error of its own (see its output)"};
    line = cat(greeting_, kFailed, to_json(board_.get().value_or(own)), '\n');
  }
  for (const Connection& c : connections_) {
    if (c.watches >= 0) {
      send_text(c.socket, line, kAnswerTime);
      shutdown(c.socket.get(), SHUT_WR);
    }
  }
}

Failure Liveness::find_out(const Operation& mine, const std::vector<int>& ranks) {
  if (const auto known = board_.get()) {
    return *known;
  }
  std::vector<int> others = ranks;
  std::erase(others, rank_);
  const auto answers = tell(others, cat(greeting_, kQuestion, '\n'), true);
  report_to_all(find_culprit(mine, rank_, ranks, answers));
  return board_.get().value();
}

std::map<int, Answer> Liveness::tell(const std::vector<int>& ranks, const std::string& line,
                                     bool want_answer) const {
  struct Call {
    int rank;
    Fd socket;
    std::string received;
    bool sent = false;
  };
  std::map<int, Answer> answers;
  std::vector<Call> calls;
  for (const int r : ranks) {
    const Peer& peer = peers_[static_cast<size_t>(r)];
    Call call{r, start_connect(peer.address, peer.port), "", false};
    answers[r].kind = call.socket ? Answer::Kind::kSilent : Answer::Kind::kGone;
    if (call.socket) {
      calls.push_back(std::move(call));
    }
  }
  const auto deadline = Clock::now() + kAnswerTime;
  while (!calls.empty() && Clock::now() < deadline) {
    std::vector<pollfd> events;
    events.reserve(calls.size());
    for (const Call& c : calls) {
      events.push_back({c.socket.get(), static_cast<short>(c.sent ? POLLIN : POLLOUT), 0});
    }
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    poll(events.data(), events.size(), std::max<int>(1, static_cast<int>(left.count())));
    for (size_t i = calls.size(); i-- > 0;) {
      Call& call = calls[i];
      Answer& answer = answers[call.rank];
      bool over = false;
      if (events[i].revents == 0) {
        continue;
      }
      if (!call.sent) {
        int error = 0;
        socklen_t length = sizeof(error);
        getsockopt(call.socket.get(), SOL_SOCKET, SO_ERROR, &error, &length);
        call.sent = error == 0 && send_text(call.socket, line, std::chrono::milliseconds(0));
        answer.kind = call.sent ? answer.kind : Answer::Kind::kGone;
        over = !call.sent || !want_answer;
      } else {
        char buffer[4096];
        const ssize_t n = recv(call.socket.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
        if (n > 0) {
          call.received.append(buffer, static_cast<size_t>(n));
        } else if (n == 0 || errno != EAGAIN) {
          const bool spoke = !call.received.empty() && call.received.back() == '\n';
          answer.kind = spoke ? Answer::Kind::kSpoke : Answer::Kind::kGone;
          answer.last = operations_of(call.received);
          over = true;
        }
      }
      if (over) {
        std::swap(calls[i], calls.back());
        calls.pop_back();
      }
    }
  }
  return answers;
}

}  // namespace trireme::comm
