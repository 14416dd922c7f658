// Plain TCP for the control plane: listening, connecting within a time, which local address to use.
// All descriptors are close-on-exec.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace trireme::comm {

// Owns a file descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd();
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// Listens on a local address (name or number; empty: all of them) and port (0: any free one). A
// port in use or an address that is not this host's is an input_error that ends with `advice`.
Fd listen_on(const std::string& address, int port, const std::string& advice);
// The port that a socket is bound to.
int local_port(int socket);

// A non-blocking connection under way to an address given as a number; an empty Fd when it is none
// or refuses at once.
Fd start_connect(const std::string& address, int port);
// Connects within `timeout`, to the first of the name's addresses that answers; an empty Fd when
// none does.
Fd connect_to(const std::string& address, int port, std::chrono::milliseconds timeout);
// The whole text, within `timeout`. False when the peer has gone or does not read.
bool send_text(const Fd& socket, std::string_view text, std::chrono::milliseconds timeout);
// Notices within about 15 s that the peer's host is gone (a host that lost power sends nothing).
void keep_alive(const Fd& socket);

// The local address that packets to host:port leave from ("127.0.0.1" for loopback). Sends nothing.
// Throws input_error when `host` does not resolve.
std::string local_address_towards(const std::string& host, int port);
// Whether a name or number means this very host ("localhost", "127.0.0.1", "::1").
bool is_loopback(const std::string& address);

struct Interface {
  std::string name;
  std::string address;
};
// Interfaces that are up and have an address, IPv4 before IPv6, loopback included.
std::vector<Interface> interfaces();
// The address of the interface called `name`; an input_error that lists what there is.
std::string interface_address(const std::string& name);
// An address that other hosts may reach: the first that is neither loopback nor of one link only;
// "127.0.0.1" on a host that has none.
std::string routable_address();

}  // namespace trireme::comm
