// Messages of other libraries' exceptions, made fit for one line of ours.
#pragma once

#include <c10/util/Logging.h>

#include <string>
#include <string_view>

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

// While it lives c10d does not write its own account of a failure, of a page; ours is one line. For
// the time before the ranks have started threads: the level is the process's.
class QuietC10d {
 public:
  QuietC10d() : before_(FLAGS_caffe2_log_level) { FLAGS_caffe2_log_level = c10::GLOG_FATAL; }
  ~QuietC10d() { FLAGS_caffe2_log_level = before_; }
  QuietC10d(const QuietC10d&) = delete;
  QuietC10d& operator=(const QuietC10d&) = delete;

 private:
  int before_;
};

}  // namespace trireme::comm
