// What the tests of io share: a temporary folder, safetensors files put together by hand, and the
// message of the Error that a call throws.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "trireme/base/error.h"
#include "trireme/base/files.h"

namespace trireme::io {

// A folder of its own for each test, removed at its end.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "trireme-io-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw run_error("no temporary folder");
    path_ = pattern;
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

inline std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A whole file: length, header, tensors.
inline std::string safetensors_text(std::string_view header, std::string_view body = "") {
  std::string out;
  for (int i = 0; i < 8; ++i) {
    out += static_cast<char>((static_cast<std::uint64_t>(header.size()) >> (8 * i)) & 0xFFU);
  }
  out += header;
  out += body;
  return out;
}

struct Thrown {
  ErrorKind kind;
  std::string message;
};

// What `call` throws; fails the test when it throws nothing, or a message of more than one line.
template <class Call>
Thrown thrown_by(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos) << error.what();
    return {error.kind(), error.what()};
  }
  ADD_FAILURE() << "nothing was thrown";
  return {ErrorKind::kRun, ""};
}

// The message of the input_error, or of the run_error, that `call` throws.
template <class Call>
std::string input_error_of(const Call& call) {
  const Thrown thrown = thrown_by(call);
  EXPECT_EQ(thrown.kind, ErrorKind::kInput) << thrown.message;
  return thrown.message;
}
template <class Call>
std::string run_error_of(const Call& call) {
  const Thrown thrown = thrown_by(call);
  EXPECT_EQ(thrown.kind, ErrorKind::kRun) << thrown.message;
  return thrown.message;
}

}  // namespace trireme::io
