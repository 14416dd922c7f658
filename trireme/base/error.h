// Errors for people (one line: what, where, what to do), and cat(), the way messages are put
// together.
//
//   throw input_error(path, ":", line, ": unknown key '", key, "'; did you mean '", nearest, "'?");
//
// Thrown anywhere, caught once, in cli/. The kind is the exit code.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace trireme {

enum class ErrorKind {
  kRun = 1,          // the run broke: a peer died, a disk is full, a loss is NaN
  kInput = 2,        // the user's input is wrong: a file, a key, a flag
  kInterrupted = 3,  // stopped on request, after saving
};

// The text with line breaks and tabs as spaces and other control characters as '?': what a file or
// a command line holds cannot break an error's one line, or steer the terminal.
std::string one_line(std::string text);

class Error : public std::runtime_error {
 public:
  // The message is shown to people on one line: see one_line.
  Error(ErrorKind kind, const std::string& message);
  ErrorKind kind() const { return kind_; }
  int exit_code() const { return static_cast<int>(kind_); }

 private:
  ErrorKind kind_;
};

// Joins anything that an ostream takes.
template <class... Parts>
std::string cat(const Parts&... parts) {
  std::ostringstream out;
  ((out << parts), ...);
  return out.str();
}

template <class... Parts>
Error input_error(const Parts&... parts) {
  return Error(ErrorKind::kInput, cat(parts...));
}

template <class... Parts>
Error run_error(const Parts&... parts) {
  return Error(ErrorKind::kRun, cat(parts...));
}

}  // namespace trireme
