// Messages of other libraries' exceptions, made fit for one line of ours.
#pragma once

#include <c10/util/Logging.h>

#include <mutex>
#include <string>
#include <string_view>
#include <utility>

namespace trireme::comm {

// The first line, without LibTorch's source position in front and the trace behind.
inline std::string first_line(std::string_view text) {
  text = text.substr(0, text.find('\n'));
  if (text.starts_with('[')) {
    const size_t end = text.find("] ");
    text = end == std::string_view::npos ? text : text.substr(end + 2);
  }
  return std::string(text);
}

// While one lives c10d does not write its own account of a failure, of a page; ours is one line.
// The level is the process's: with ranks as threads the first sets it and the last puts it back.
class QuietC10d {
 public:
  QuietC10d() {
    const std::lock_guard lock(mutex);
    if (living++ == 0) before = std::exchange(FLAGS_caffe2_log_level, c10::GLOG_FATAL);
  }
  ~QuietC10d() {
    const std::lock_guard lock(mutex);
    if (--living == 0) FLAGS_caffe2_log_level = before;
  }
  QuietC10d(const QuietC10d&) = delete;
  QuietC10d& operator=(const QuietC10d&) = delete;

 private:
  static inline std::mutex mutex;
  static inline int living = 0;
  static inline int before = 0;
};

}  // namespace trireme::comm
