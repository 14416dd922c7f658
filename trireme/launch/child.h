// Starting one child process, and passing its lines on.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "trireme/comm/rank_env.h"
#include "trireme/comm/sockets.h"

namespace trireme::launch {

struct ChildSpec {
  std::vector<std::string> argv;  // argv[0]: the path to run
  comm::Environment environment;
  bool piped = false;  // stdout and stderr into pipes, stdin from /dev/null; otherwise all three
                       // are inherited
};

struct Child {
  pid_t pid = -1;
  comm::Fd out;
  comm::Fd err;
};

// Starts it; it is killed when the calling thread's process ends. Throws input_error when the
// program cannot be run.
Child spawn(const ChildSpec& spec);

// The path of `program` as a shell would find it; an input_error when there is none.
std::string find_program(const std::string& program, const std::string& path);

// Copies whole lines from a pipe to a descriptor, each behind a prefix. A last line without its end
// gets one.
class LineRelay {
 public:
  LineRelay(comm::Fd from, int to, std::string prefix);
  int descriptor() const { return from_.get(); }
  // Takes what is there without waiting. False: the pipe has ended.
  bool pump();
  // Writes a line that has not ended.
  void flush();

 private:
  void write_lines(std::string_view lines) const;

  comm::Fd from_;
  int to_;
  std::string prefix_;
  std::string pending_;
};

}  // namespace trireme::launch
