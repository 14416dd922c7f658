#include "trireme/comm/rank_calls.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "trireme/base/error.h"
#include "trireme/base/json.h"
#include "trireme/comm/sockets.h"

namespace trireme::comm {
namespace {

using Clock = std::chrono::steady_clock;

// Takes what a peer said: of itself, and of those that it saw leave. One that says nothing, or not
// what we would say, has gone.
void hear(const std::string& line, Answer& answer, std::map<int, Answer>& left) {
  answer.kind = Answer::Kind::kGone;
  if (line.empty() || line.back() != '\n') {
    return;
  }
  try {
    const Json json = parse_json(line, "answer");
    answer = answer_from_json(require_object(json, "answer", "answer"), "answer");
    for (const Json& item : require_array(json, "left", "answer")) {
      left[static_cast<int>(require_int(item, "rank", "answer"))] =
          answer_from_json(require_object(item, "answer", "answer"), "answer");
    }
  } catch (const Error&) {
    answer = {Answer::Kind::kGone, {}, {}};
  }
}

}  // namespace

void fill_in_left(std::map<int, Answer>& answers, const std::map<int, Answer>& left) {
  for (const auto& [rank, answer] : left) {
    const auto it = answers.find(rank);
    if (it != answers.end() && it->second.kind == Answer::Kind::kGone) {
      it->second = answer;
    }
  }
}

std::map<int, Answer> call_ranks(const std::vector<Peer>& peers, const std::vector<int>& ranks,
                                 const std::string& line) {
  struct Call {
    int rank;
    Fd socket;
    std::string received;
    bool sent = false;
  };
  std::map<int, Answer> answers;
  std::map<int, Answer> of_left;
  std::vector<Call> calls;
  for (const int r : ranks) {
    const Peer& peer = peers[static_cast<size_t>(r)];
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
        over = !call.sent;
      } else {
        char buffer[4096];
        const ssize_t n = recv(call.socket.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
        if (n > 0) {
          call.received.append(buffer, static_cast<size_t>(n));
        } else if (n == 0 || errno != EAGAIN) {
          hear(call.received, answer, of_left);
          over = true;
        }
      }
      if (over) {
        std::swap(calls[i], calls.back());
        calls.pop_back();
      }
    }
  }
  fill_in_left(answers, of_left);
  return answers;
}

}  // namespace trireme::comm
