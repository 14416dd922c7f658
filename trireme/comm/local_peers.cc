#include "trireme/comm/local_peers.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "trireme/base/error.h"
#include "trireme/comm/store.h"

namespace trireme::comm {
namespace {

using Clock = std::chrono::steady_clock;
using Millis = std::chrono::milliseconds;

// Tells most ranks of other hosts without trying them.
std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  file >> id;
  return id;
}

struct AbstractAddress {
  sockaddr_un address{};
  socklen_t length;
  explicit AbstractAddress(const std::string& name) {
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, name.data(), name.size());
    length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

Fd unix_socket() {
  Fd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd) throw run_error("cannot make a Unix socket: ", std::strerror(errno));
  return fd;
}

Fd listen_at(const std::string& name, int backlog) {
  Fd fd = unix_socket();
  const AbstractAddress address(name);
  if (bind(fd.get(), address.get(), address.length) != 0 || listen(fd.get(), backlog) != 0) {
    throw run_error("cannot listen on a Unix socket: ", std::strerror(errno));
  }
  return fd;
}

// Names are of 128 random bits that only this job's ranks are told; still, nobody else's process.
bool same_user(const Fd& fd) {
  ucred credentials{};
  socklen_t length = sizeof(credentials);
  return getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0 &&
         credentials.uid == geteuid();
}

// An empty Fd: not of this host.
Fd reach(const std::string& name, int my_rank) {
  Fd fd = unix_socket();
  const AbstractAddress address(name);
  const auto hello = static_cast<int32_t>(my_rank);
  if (connect(fd.get(), address.get(), address.length) != 0 || !same_user(fd) ||
      ::send(fd.get(), &hello, sizeof(hello), MSG_NOSIGNAL) != sizeof(hello)) {
    return {};
  }
  return fd;
}

// A file descriptor and two numbers, as sendmsg() and recvmsg() take them.
struct FileMessage {
  uint64_t body[2] = {};
  iovec part{body, sizeof(body)};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};

  FileMessage() {
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
  }
  FileMessage(const FileMessage&) = delete;
  FileMessage& operator=(const FileMessage&) = delete;
};

}  // namespace

LocalPeers LocalPeers::find(c10d::Store& store, int rank, int size, Millis timeout) {
  LocalPeers found;
  found.rank_ = rank;
  const std::string boot = boot_id(), own_name = "trireme-" + random_token();
  const Fd listener = listen_at(own_name, size);
  const auto names = gather(store, "shm/name/", {rank, size}, boot + " " + own_name, timeout);
  // Higher ranks call lower ones; 'x' where the call was answered.
  std::string reached(static_cast<size_t>(size), '.');
  for (int r = 0; r < rank; ++r) {
    const std::string& name = names[static_cast<size_t>(r)];
    if (!name.starts_with(boot + " ")) continue;
    if (Fd socket = reach(name.substr(boot.size() + 1), rank)) {
      found.sockets_.emplace(r, std::move(socket));
      reached[static_cast<size_t>(r)] = 'x';
    }
  }
  const auto all = gather(store, "shm/reach/", {rank, size}, reached, timeout);
  const auto linked = [&](int a, int b) {
    const auto [low, high] = std::minmax(a, b);
    return all[static_cast<size_t>(high)][static_cast<size_t>(low)] == 'x';
  };
  for (int r = 0; r < size; ++r) {
    const auto host = std::find_if(found.hosts_.begin(), found.hosts_.end(),
                                   [&](const auto& ranks) { return linked(ranks[0], r); });
    if (host == found.hosts_.end()) {
      found.hosts_.push_back({r});
      continue;
    }
    for (const int other : *host) {
      if (!linked(other, r)) {
        throw run_error("ranks ", other, " and ", r, " both share memory with rank ", (*host)[0],
                        " but not with each other: start the ranks of a host alike");
      }
    }
    host->push_back(r);
  }
  for (size_t h = 0; h < found.hosts_.size(); ++h) {
    const auto& ranks = found.hosts_[h];
    if (std::find(ranks.begin(), ranks.end(), rank) != ranks.end()) found.here_ = h;
  }
  const auto deadline = Clock::now() + timeout;
  while (found.sockets_.size() + 1 < found.here().size()) {
    const auto left = std::chrono::duration_cast<Millis>(deadline - Clock::now()).count();
    pollfd event{listener.get(), POLLIN, 0};
    if (left <= 0 || poll(&event, 1, static_cast<int>(left)) <= 0) {
      throw run_error("a rank of this host called and does not answer");
    }
    Fd socket(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    int32_t caller = -1;
    if (!socket || !same_user(socket) ||
        recv(socket.get(), &caller, sizeof(caller), 0) != sizeof(caller)) {
      continue;
    }
    if (caller > rank && caller < size && linked(caller, rank)) {
      found.sockets_.emplace(caller, std::move(socket));
    }
  }
  return found;
}

void LocalPeers::send(int rank, uint64_t number, uint64_t bytes, const Fd& fd) {
  FileMessage file;
  file.body[0] = number;
  file.body[1] = bytes;
  cmsghdr* header = CMSG_FIRSTHDR(&file.message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int passed = fd.get();
  std::memcpy(CMSG_DATA(header), &passed, sizeof(int));
  ssize_t sent = 0;
  do {
    sent = sendmsg(sockets_.at(rank).get(), &file.message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  const bool left = sent < 0 && (errno == EPIPE || errno == ECONNRESET);
  if (sent != sizeof(file.body) && !left) {
    throw run_error("cannot pass shared memory to rank ", rank, ": ", std::strerror(errno));
  }
}

std::optional<LocalPeers::File> LocalPeers::receive(int rank) {
  FileMessage file;
  const ssize_t got =
      recvmsg(sockets_.at(rank).get(), &file.message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  const cmsghdr* header = CMSG_FIRSTHDR(&file.message);
  if (got != sizeof(file.body) || header == nullptr || header->cmsg_type != SCM_RIGHTS) {
    return std::nullopt;
  }
  int passed = -1;
  std::memcpy(&passed, CMSG_DATA(header), sizeof(int));
  return File{file.body[0], file.body[1], Fd(passed)};
}

}  // namespace trireme::comm
