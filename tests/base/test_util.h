// Helpers of the tests of base/: a folder that goes away, and the message of an expected error.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "trireme/base/error.h"

namespace trireme::test {

class TempDir {
 public:
  TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "trireme-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw run_error(name, ": cannot be made");
    path_ = name;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The message of the Error of that kind that `run` throws; any other end fails the test. The
// message must be one line.
template <class Run>
std::string error_of(ErrorKind kind, Run run) {
  try {
    run();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.kind(), kind) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message;
  }
  ADD_FAILURE() << "no error";
  return {};
}
template <class Run>
std::string input_error_of(Run run) {
  return error_of(ErrorKind::kInput, run);
}
template <class Run>
std::string run_error_of(Run run) {
  return error_of(ErrorKind::kRun, run);
}

}  // namespace trireme::test
