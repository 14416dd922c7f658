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

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }
  int exit_code() const { return static_cast<int>(kind_); }

 private:
  ErrorKind kind_;
};

// Joins anything that an ostream takes.
template <class... Parts>
std::string cat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
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
