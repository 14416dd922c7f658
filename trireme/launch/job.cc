#include "trireme/launch/job.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "trireme/base/error.h"
#include "trireme/comm/time_limit.h"

namespace trireme::launch {
namespace {

constexpr int kInterrupted = static_cast<int>(ErrorKind::kInterrupted);
// `timeout` and systemd may tell the launcher twice at once: that is no impatience.
constexpr std::chrono::seconds kRepeatTime{2};

template <class... Parts>
void say(const Parts&... parts) {
  const std::string line = cat("trireme launch: ", parts..., "\n");
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

bool RankEnd::failed() const {
  return !WIFEXITED(status) || (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != kInterrupted);
}

std::string RankEnd::what() const {
  if (WIFEXITED(status)) {
    return cat("exited with code ", WEXITSTATUS(status));
  }
  const int sig = WTERMSIG(status);
  return cat("was killed by signal ", sig, " (", strsignal(sig),
             sig == SIGKILL ? "; by hand, or out of memory?)" : ")");
}

int job_exit_code(const std::vector<RankEnd>& ends) {
  int code = 0;
  for (const RankEnd& end : ends) {
    if (end.failed()) {
      return WIFEXITED(end.status) ? WEXITSTATUS(end.status) : static_cast<int>(ErrorKind::kRun);
    }
    code = std::max(code, WEXITSTATUS(end.status));
  }
  return code;
}

Job::~Job() {
  send_all(SIGKILL);
  for (const Rank& r : ranks_) {
    if (r.running) {
      waitpid(r.pid, nullptr, 0);
    }
  }
}

void Job::start(int local_rank, const ChildSpec& spec) {
  Child child = spawn(spec);
  const int rank = options_.node_rank * options_.ranks + local_rank;
  ranks_.push_back({rank, child.pid, true});
  const std::string prefix = cat("[rank ", rank, "] ");
  if (spec.piped) {
    relays_.emplace_back(std::move(child.out), STDOUT_FILENO, prefix);
    relays_.emplace_back(std::move(child.err), STDERR_FILENO, prefix);
  }
}

int Job::run() {
  while (running() > 0) {
    step();
  }
  for (LineRelay& relay : relays_) {
    relay.pump();
    relay.flush();
  }
  return job_exit_code(ends_);
}

int64_t Job::running() const {
  return std::count_if(ranks_.begin(), ranks_.end(), [](const Rank& r) { return r.running; });
}

void Job::send_all(int sig) const {
  for (const Rank& r : ranks_) {
    if (r.running) {
      kill(r.pid, sig);
    }
  }
}

void Job::step() {
  std::vector<pollfd> events{{signals_.descriptor(), POLLIN, 0}};
  for (const LineRelay& relay : relays_) {
    events.push_back({relay.descriptor(), POLLIN, 0});
  }
  poll(events.data(), events.size(), time_to_next_ms());
  for (size_t i = relays_.size(); i-- > 0;) {
    if (events[i + 1].revents != 0 && !relays_[i].pump()) {
      relays_.erase(relays_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  while (const auto info = signals_.next()) {
    if (info->ssi_signo != SIGCHLD) {
      on_signal(static_cast<int>(info->ssi_signo), info->ssi_code == SI_KERNEL);
    }
  }
  reap();
  escalate();
}

void Job::on_signal(int sig, bool from_terminal) {
  if (signalled_) {
    if (Clock::now() - *signalled_ >= kRepeatTime) {
      say("a second signal: killing the ranks");
      send_all(SIGKILL);
    }
    return;
  }
  signalled_ = Clock::now();
  interrupted_ = true;
  say("SIG", sigabbrev_np(sig), ": waiting for the ranks to save and stop (up to ",
      options_.save_within_s, " s; again after ", kRepeatTime.count(), " s to kill them)");
  if (!from_terminal) {  // the terminal has told the whole process group
    send_all(sig == SIGHUP ? SIGTERM : sig);
  }
  set_deadline(SIGKILL, options_.save_within_s);
}

void Job::reap() {
  for (Rank& r : ranks_) {
    int status = 0;
    if (r.running && waitpid(r.pid, &status, WNOHANG) == r.pid) {
      r.running = false;
      ends_.push_back({r.rank, status});
      on_end(r, ends_.back());
    }
  }
}

void Job::on_end(const Rank& rank, const RankEnd& end) {
  const bool first = !failing_ && !interrupted_;
  const bool saved = WIFEXITED(end.status) && WEXITSTATUS(end.status) == kInterrupted;
  if (first && end.failed()) {
    failing_ = true;
    say("rank ", rank.rank, " (pid ", rank.pid, ") ", end.what(),
        running() > 0 ? "; stopping the other ranks" : "");
    set_deadline(SIGTERM, options_.settle_s);
  } else if (first && saved) {
    interrupted_ = true;  // someone told a rank, not us; the ranks have agreed to stop
    set_deadline(SIGKILL, options_.save_within_s);
  }
}

void Job::set_deadline(int sig, double seconds) {
  next_signal_ = sig;
  deadline_ = Clock::now() + comm::to_ms(seconds);
}

int Job::time_to_next_ms() const {
  if (next_signal_ == 0) {
    return -1;
  }
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline_ - Clock::now());
  return static_cast<int>(std::max<int64_t>(0, left.count()));
}

void Job::escalate() {
  if (next_signal_ == 0 || Clock::now() < deadline_ || running() == 0) {
    return;
  }
  send_all(next_signal_);
  if (next_signal_ == SIGTERM) {
    set_deadline(SIGKILL, options_.kill_after_s);
    return;
  }
  say("killed ", running(), " rank(s) that did not stop");
  next_signal_ = 0;
}

}  // namespace trireme::launch
