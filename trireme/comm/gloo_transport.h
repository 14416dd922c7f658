// The sockets' side of Gloo: one a process (a World), shared by its groups.
#pragma once

#include <memory>
#include <string>

namespace gloo::transport {
class Device;
}

namespace trireme::comm {

// Gloo's transport thread throws when a peer sends more than this rank is to receive, and nobody
// can catch it there: the process would end by std::terminate, and only its peers could say that it
// did. So the first transport sets a terminate handler that keeps such a thread for ever instead
// (other exceptions go on to the handler that was there before); broken() tells waiting operations,
// which then find out whose operation does not fit.
class GlooTransport {
 public:
  // Throws input_error when Gloo cannot use the local address.
  explicit GlooTransport(const std::string& local_address);

  const std::shared_ptr<gloo::transport::Device>& device() const { return device_; }
  // A transport thread of this process has given up since this was made. Groups over it are of no
  // use any more, nor can they be destroyed by a thread that must go on.
  bool broken() const;

 private:
  std::shared_ptr<gloo::transport::Device> device_;
  int breaks_before_;
};

}  // namespace trireme::comm
