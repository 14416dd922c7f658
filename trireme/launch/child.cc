#include "trireme/launch/child.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <sstream>

#include "trireme/base/error.h"

namespace trireme::launch {
namespace {

constexpr size_t kLongestLine = 1 << 16;

struct Pipe {
  comm::Fd read;
  comm::Fd write;
};

Pipe make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    throw run_error("cannot make a pipe: ", std::strerror(errno), " (see ulimit -n)");
  }
  return {comm::Fd(ends[0]), comm::Fd(ends[1])};
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  out.reserve(strings.size() + 1);
  for (std::string& s : strings) {
    out.push_back(s.data());
  }
  out.push_back(nullptr);
  return out;
}

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n > 0) {
      text.remove_prefix(static_cast<size_t>(n));
    } else if (errno == EAGAIN) {
      pollfd event{fd, POLLOUT, 0};
      poll(&event, 1, 1000);
    } else if (errno != EINTR) {
      return;  // our reader has gone; the ranks go on
    }
  }
}

}  // namespace

Child spawn(const ChildSpec& spec) {
  // Everything that allocates comes before fork(): other threads may hold the heap.
  std::vector<std::string> arguments = spec.argv;
  std::vector<std::string> variables;
  for (const auto& [name, value] : spec.environment) {
    variables.push_back(name + "=" + value);
  }
  const std::vector<char*> argv = pointers(arguments);
  const std::vector<char*> envp = pointers(variables);
  Pipe out;
  Pipe err;
  comm::Fd null;
  if (spec.piped) {
    out = make_pipe();
    err = make_pipe();
    null = comm::Fd(open("/dev/null", O_RDONLY | O_CLOEXEC));
  }
  Pipe trouble = make_pipe();  // closes when the program runs, or tells why it does not
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) {
    throw run_error("cannot start a process: ", std::strerror(errno), " (see ulimit -u)");
  }
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
      _exit(1);  // the launcher died in between
    }
    if (spec.piped) {
      dup2(null.get(), STDIN_FILENO);
      dup2(out.write.get(), STDOUT_FILENO);
      dup2(err.write.get(), STDERR_FILENO);
    }
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    std::signal(SIGPIPE, SIG_DFL);
    execve(argv[0], argv.data(), envp.data());
    const int error = errno;
    [[maybe_unused]] const ssize_t n = write(trouble.write.get(), &error, sizeof(error));
    _exit(127);
  }
  trouble.write = comm::Fd();
  int error = 0;
  ssize_t n = 0;
  while ((n = read(trouble.read.get(), &error, sizeof(error))) < 0 && errno == EINTR) {
  }
  if (n == sizeof(error)) {
    waitpid(pid, nullptr, 0);
    throw input_error("cannot run '", spec.argv.front(), "': ", std::strerror(error));
  }
  return {pid, std::move(out.read), std::move(err.read)};
}

std::string find_program(const std::string& program, const std::string& path) {
  if (program.find('/') != std::string::npos) {
    return program;
  }
  std::istringstream folders(path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string full = (folder.empty() ? "." : folder) + "/" + program;
    if (access(full.c_str(), X_OK) == 0 && !std::filesystem::is_directory(full)) {
      return full;
    }
  }
  throw input_error("cannot run '", program,
                    "': there is no such program on the PATH, nor a subcommand of trireme");
}

LineRelay::LineRelay(comm::Fd from, int to, std::string prefix)
    : from_(std::move(from)), to_(to), prefix_(std::move(prefix)) {
  fcntl(from_.get(), F_SETFL, O_NONBLOCK);
}

bool LineRelay::pump() {
  char buffer[16384];
  for (;;) {
    const ssize_t n = read(from_.get(), buffer, sizeof(buffer));
    if (n > 0) {
      pending_.append(buffer, static_cast<size_t>(n));
      const size_t end = pending_.rfind('\n');
      if (end != std::string::npos) {
        write_lines(std::string_view(pending_).substr(0, end + 1));
        pending_.erase(0, end + 1);
      }
      if (pending_.size() > kLongestLine) {
        flush();
      }
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
      flush();
      return false;
    } else if (errno == EAGAIN) {
      return true;
    }
  }
}

void LineRelay::flush() {
  if (!pending_.empty()) {
    write_lines(pending_ + "\n");
    pending_.clear();
  }
}

void LineRelay::write_lines(std::string_view lines) const {
  std::string text;
  while (!lines.empty()) {
    const size_t end = lines.find('\n') + 1;
    text += prefix_;
    text += lines.substr(0, end);
    lines.remove_prefix(end);
  }
  write_all(to_, text);
}

}  // namespace trireme::launch
