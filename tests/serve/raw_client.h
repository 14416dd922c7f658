// A plain socket to 127.0.0.1 for tests: sends any bytes, reads answers, sees the other side close.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cctype>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace trireme::serve {

struct RawResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

class RawClient {
 public:
  explicit RawClient(uint16_t port, int receive_buffer_bytes = 0) {
    fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
    if (receive_buffer_bytes > 0) {
      ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) close();
  }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;
  ~RawClient() { close(); }

  bool connected() const { return fd_ >= 0; }

  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

  // False when the other side has closed.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  // One answer with a Content-Length; nothing when none comes whole in time. `head`: it has no
  // body.
  std::optional<RawResponse> read(bool head = false, int timeout_ms = 5000) {
    const auto deadline = deadline_in(timeout_ms);
    size_t end = std::string::npos;
    while ((end = input_.find("\r\n\r\n")) == std::string::npos) {
      if (!receive(deadline)) return std::nullopt;
    }
    RawResponse response = parse_header(input_.substr(0, end));
    const size_t length =
        head ? 0 : std::strtoul(response.headers["content-length"].c_str(), nullptr, 10);
    while (input_.size() < end + 4 + length) {
      if (!receive(deadline)) return std::nullopt;
    }
    response.body = input_.substr(end + 4, length);
    input_.erase(0, end + 4 + length);
    return response;
  }

  // Does the other side close in time, having sent nothing more?
  bool closed(int timeout_ms = 5000) {
    const auto deadline = deadline_in(timeout_ms);
    return !receive(deadline) && at_end_ && input_.empty();
  }

  size_t unread() const { return input_.size(); }

 private:
  using Time = std::chrono::steady_clock;

  static Time::time_point deadline_in(int timeout_ms) {
    return Time::now() + std::chrono::milliseconds(timeout_ms);
  }

  bool receive(Time::time_point deadline) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Time::now()).count();
    pollfd poll_fd{fd_, POLLIN, 0};
    if (left <= 0 || ::poll(&poll_fd, 1, static_cast<int>(left)) <= 0) return false;
    char chunk[65536];
    const ssize_t size = ::recv(fd_, chunk, sizeof chunk, 0);
    at_end_ = size <= 0;
    if (at_end_) return false;
    input_.append(chunk, static_cast<size_t>(size));
    return true;
  }

  static RawResponse parse_header(const std::string& header) {
    RawResponse response;
    response.status = std::stoi(header.substr(header.find(' ')));
    for (size_t at = header.find("\r\n"); at != std::string::npos;) {
      const size_t next = header.find("\r\n", at + 2);
      const std::string line = header.substr(at + 2, next - at - 2);
      const size_t colon = line.find(": ");
      std::string name = line.substr(0, colon);
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      response.headers[name] = line.substr(colon + 2);
      at = next;
    }
    return response;
  }

  int fd_ = -1;
  bool at_end_ = false;
  std::string input_;
};

inline std::string get(const std::string& path, const std::string& extra = "") {
  return "GET " + path + " HTTP/1.1\r\nHost: test\r\n" + extra + "\r\n";
}

inline std::string post(const std::string& path, const std::string& body,
                        const std::string& extra = "") {
  return "POST " + path +
         " HTTP/1.1\r\nHost: test\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         extra + "\r\n" + body;
}

}  // namespace trireme::serve
