#include "trireme/comm/sockets.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "trireme/base/error.h"

namespace trireme::comm {
namespace {

using Clock = std::chrono::steady_clock;
using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

AddressList resolve(const std::string& host, int port, int socket_type, int flags) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = socket_type;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const std::string service = std::to_string(port);
  if (getaddrinfo(host.empty() ? nullptr : host.c_str(), service.c_str(), &hints, &list) != 0) {
    list = nullptr;
  }
  return {list, &freeaddrinfo};
}

std::vector<const addrinfo*> all_of(const AddressList& list) {
  std::vector<const addrinfo*> out;
  for (const addrinfo* a = list.get(); a != nullptr; a = a->ai_next) {
    out.push_back(a);
  }
  return out;
}

void set_option(int fd, int level, int name, int value) {
  setsockopt(fd, level, name, &value, sizeof(value));
}

std::string numeric(const sockaddr* address, socklen_t length) {
  char text[NI_MAXHOST];
  if (getnameinfo(address, length, text, sizeof(text), nullptr, 0, NI_NUMERICHOST) != 0) {
    return "";
  }
  return text;
}

int remaining_ms(Clock::time_point deadline) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  return static_cast<int>(std::max<int64_t>(0, left.count()));
}

Fd start_connect(const addrinfo& to) {
  Fd fd(socket(to.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd && connect(fd.get(), to.ai_addr, to.ai_addrlen) != 0 && errno != EINPROGRESS) {
    return {};
  }
  return fd;
}

bool connects_by(const Fd& fd, Clock::time_point deadline) {
  pollfd event{fd.get(), POLLOUT, 0};
  while (poll(&event, 1, remaining_ms(deadline)) < 0 && errno == EINTR) {
  }
  int error = 0;
  socklen_t length = sizeof(error);
  return (event.revents & POLLOUT) != 0 &&
         getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0;
}

}  // namespace

Fd::~Fd() {
  if (fd_ >= 0) {
    close(fd_);
  }
}

Fd listen_on(const std::string& address, int port, const std::string& advice) {
  const AddressList list = resolve(address, port, SOCK_STREAM, AI_PASSIVE);
  if (!list) {
    throw input_error("cannot listen on '", address, "': the name does not resolve; ", advice);
  }
  // All addresses: one IPv6 socket takes IPv4 as well, where the host has IPv6.
  std::vector<const addrinfo*> order = all_of(list);
  if (address.empty()) {
    std::stable_sort(order.begin(), order.end(), [](const addrinfo* a, const addrinfo* b) {
      return a->ai_family == AF_INET6 && b->ai_family != AF_INET6;
    });
  }
  int error = EADDRNOTAVAIL;
  for (const addrinfo* a : order) {
    Fd fd(socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) {
      error = errno;
      continue;
    }
    set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (a->ai_family == AF_INET6) {
      set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, address.empty() ? 0 : 1);
    }
    if (bind(fd.get(), a->ai_addr, a->ai_addrlen) == 0 && listen(fd.get(), SOMAXCONN) == 0) {
      return fd;
    }
    error = errno;
    if (error == EADDRINUSE) {
      break;
    }
  }
  const std::string where = address.empty() ? "" : cat(" on ", address);
  if (error == EADDRINUSE) {
    throw input_error("port ", port, where, " is in use; ", advice);
  }
  throw input_error("cannot listen on port ", port, where, ": ", std::strerror(error), "; ",
                    advice);
}

int local_port(int socket) {
  sockaddr_storage address{};
  socklen_t length = sizeof(address);
  getsockname(socket, reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&address)->sin6_port
                                             : reinterpret_cast<sockaddr_in*>(&address)->sin_port);
}

Fd start_connect(const std::string& address, int port) {
  const AddressList list = resolve(address, port, SOCK_STREAM, 0);
  return list ? start_connect(*list) : Fd();
}

Fd connect_to(const std::string& address, int port, std::chrono::milliseconds timeout) {
  const AddressList list = resolve(address, port, SOCK_STREAM, 0);
  const auto deadline = Clock::now() + timeout;
  const std::vector<const addrinfo*> all = all_of(list);
  for (size_t i = 0; i < all.size(); ++i) {
    // An address that never answers leaves the others their share of the time.
    const auto share = (deadline - Clock::now()) / static_cast<int64_t>(all.size() - i);
    Fd fd = start_connect(*all[i]);
    if (fd && connects_by(fd, Clock::now() + share)) {
      return fd;
    }
  }
  return {};
}

bool send_text(const Fd& socket, std::string_view text, std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  while (!text.empty()) {
    const ssize_t n = send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      text.remove_prefix(static_cast<size_t>(n));
    } else if (n < 0 && errno == EAGAIN) {
      pollfd event{socket.get(), POLLOUT, 0};
      if (poll(&event, 1, remaining_ms(deadline)) == 0) {
        return false;
      }
    } else if (n == 0 || errno != EINTR) {
      return false;
    }
  }
  return true;
}

void keep_alive(const Fd& socket) {
  set_option(socket.get(), SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket.get(), IPPROTO_TCP, TCP_KEEPIDLE, 5);
  set_option(socket.get(), IPPROTO_TCP, TCP_KEEPINTVL, 2);
  set_option(socket.get(), IPPROTO_TCP, TCP_KEEPCNT, 5);
}

std::string local_address_towards(const std::string& host, int port) {
  const AddressList list = resolve(host, port, SOCK_DGRAM, 0);
  if (!list) {
    throw input_error("'", host,
                      "' does not resolve to an address; set MASTER_ADDR to rank 0's host");
  }
  for (const addrinfo* a : all_of(list)) {
    const Fd fd(socket(a->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    sockaddr_storage local{};
    socklen_t length = sizeof(local);
    if (fd && connect(fd.get(), a->ai_addr, a->ai_addrlen) == 0 &&
        getsockname(fd.get(), reinterpret_cast<sockaddr*>(&local), &length) == 0) {
      return numeric(reinterpret_cast<sockaddr*>(&local), length);
    }
  }
  throw input_error("there is no route to '", host, "': ", std::strerror(errno));
}

bool is_loopback(const std::string& address) {
  return address == "localhost" || address == "::1" || address.starts_with("127.");
}

std::vector<Interface> interfaces() {
  ifaddrs* list = nullptr;
  std::vector<Interface> v4;
  std::vector<Interface> v6;
  if (getifaddrs(&list) != 0) {
    return {};
  }
  for (const ifaddrs* i = list; i != nullptr; i = i->ifa_next) {
    if (i->ifa_addr == nullptr || (i->ifa_flags & IFF_UP) == 0) {
      continue;
    }
    if (i->ifa_addr->sa_family == AF_INET) {
      v4.push_back({i->ifa_name, numeric(i->ifa_addr, sizeof(sockaddr_in))});
    } else if (i->ifa_addr->sa_family == AF_INET6) {
      v6.push_back({i->ifa_name, numeric(i->ifa_addr, sizeof(sockaddr_in6))});
    }
  }
  freeifaddrs(list);
  v4.insert(v4.end(), v6.begin(), v6.end());
  return v4;
}

std::string interface_address(const std::string& name) {
  std::string known;
  for (const Interface& i : interfaces()) {
    if (i.name == name) {
      return i.address;
    }
    known += cat(known.empty() ? "" : ", ", i.name, " (", i.address, ")");
  }
  throw input_error("comm.interface: this host has no interface '", name,
                    "' with an address; it has ", known);
}

std::string routable_address() {
  for (const Interface& i : interfaces()) {
    if (!is_loopback(i.address) && !i.address.starts_with("fe80:") &&
        !i.address.starts_with("169.254.")) {
      return i.address;
    }
  }
  return "127.0.0.1";
}

}  // namespace trireme::comm
